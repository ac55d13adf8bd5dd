import { createHash, randomUUID } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BeginUpload, UploadedFile } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { inParent, inside } from '../safePath.js';
import type { AgentPaths } from '../server/paths.js';
import type { Turns } from '../turns.js';
import { etagOf, factsOf, statIfThere } from './facts.js';
import { type ResolvedFile, resolveFile } from './resolve.js';

export const UPLOAD_BYTES_MAX = 1024 ** 3;
/** So often what has arrived goes to the disk, lest it all waits there for the end. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024;

/**
 * A file on its way in. It grows in the agent's own folder, out of everybody's sight, and takes its place in one step at
 * the end: whatever happens before, what was there stays as it was. `discard` in any case; after `finish` it does nothing.
 */
export class Upload {
  readonly #hash = createHash('sha256');
  #size = 0;
  #synced = 0;

  private constructor(
    private readonly paths: AgentPaths,
    private readonly turns: Turns,
    private readonly request: BeginUpload,
    private readonly staged: string,
    private readonly file: FileHandle,
  ) {}

  /** Looks at what is there first, so that nobody sends a gigabyte for nothing. */
  static async begin(paths: AgentPaths, turns: Turns, request: BeginUpload): Promise<Upload> {
    const current = await look(await resolveFile(paths, request.file, 'followed'), request);
    const staged = join(paths.uploads, randomUUID());
    await mkdir(paths.uploads, { recursive: true });
    const file = await open(staged, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644);
    const upload = new Upload(paths, turns, request, staged, file);
    try {
      if (current) await file.chmod(Number(current.mode & 0o777n));
    } catch (error) {
      await upload.discard();
      throw error;
    }
    return upload;
  }

  async write(data: Uint8Array): Promise<void> {
    this.#size += data.length;
    if (this.#size > UPLOAD_BYTES_MAX) {
      throw new AgentError('body-too-large', `a file can have ${UPLOAD_BYTES_MAX} bytes`);
    }
    this.#hash.update(data);
    await this.file.writeFile(data);
    if (this.#size - this.#synced < SYNC_EVERY_BYTES) return;
    this.#synced = this.#size;
    await this.file.datasync();
  }

  /** Puts it in its place, on disk when this resolves. Two that expect the same never both succeed. */
  async finish(sizeBytes: number): Promise<UploadedFile> {
    if (sizeBytes !== this.#size) {
      throw new AgentError('invalid-request', `${this.#size} of ${sizeBytes} bytes have arrived`);
    }
    await this.file.datasync();
    const target = await resolveFile(this.paths, this.request.file, 'followed');
    return this.turns.take(target.serverId, () =>
      inParent(
        target.safe,
        async (parent, name) => {
          assertExpected(this.request, await statIfThere(inside(parent, name)));
          await rename(this.staged, inside(parent, name));
          await parent.sync();
          const facts = factsOf(target.path, await this.file.stat({ bigint: true }));
          return { facts, sha256: this.#hash.digest('hex') };
        },
        this.request.createFolders,
      ),
    );
  }

  async discard(): Promise<void> {
    await this.file.close();
    await rm(this.staged, { force: true });
  }
}

async function look({ safe }: ResolvedFile, request: BeginUpload): Promise<BigIntStats | undefined> {
  let current: BigIntStats | undefined;
  try {
    current = await inParent(safe, (parent, name) => statIfThere(inside(parent, name)));
  } catch (error) {
    const isNew = error instanceof AgentError && error.code === 'file-not-found' && request.createFolders;
    if (!isNew) throw error;
  }
  assertExpected(request, current);
  return current;
}

function assertExpected({ expected }: BeginUpload, current: BigIntStats | undefined): void {
  if (expected?.$case === 'nothing' && expected.nothing && current !== undefined) {
    throw new AgentError('precondition-failed', 'there is a file of that name already');
  }
  if (expected?.$case === 'etag' && (current === undefined || etagOf(current) !== expected.etag)) {
    throw new AgentError('precondition-failed', 'the file is not the one that was expected');
  }
  if (current !== undefined && !current.isFile()) {
    throw new AgentError('invalid-path', 'what is there is not a file');
  }
}
