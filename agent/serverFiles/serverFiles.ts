import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, opendir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type {
  BeginUpload,
  DownloadFileRequest,
  FileFacts,
  FilePath,
  OpenedFile,
  RenameFileRequest,
} from '#proto/gen/agent.js';
import { AgentError, errnoOf } from '../errors.js';
import { inParent, inside, openFolder, openNamed } from '../safePath.js';
import type { AgentPaths } from '../server/paths.js';
import { Turns } from '../turns.js';
import { assertNothingAt, factsOf, statIfThere } from './facts.js';
import { resolveFile } from './resolve.js';
import { Upload } from './upload.js';

const LISTED_MAX = 10_000;
const LOOKED_AT_ONCE = 64;
const CHUNK_BYTES = 256 * 1024;

/** The bytes of an open file; whoever opened it closes it. */
export interface Content {
  readonly opened: OpenedFile;
  chunks(): AsyncGenerator<Buffer>;
  close(): Promise<void>;
}

/**
 * The files of servers, each within its own folder: every folder on the way is opened from the one before it without
 * following links, so that no link leads out, not even one that is swapped in while we look. Changes of one server take
 * turns with each other; the server itself keeps to no turn.
 */
export class ServerFiles {
  readonly #turns = new Turns();

  constructor(
    private readonly paths: AgentPaths,
    private readonly log: Logger,
  ) {}

  /** By name; links are told as what they are. */
  async list(file: FilePath): Promise<FileFacts[]> {
    const { safe, path } = await resolveFile(this.paths, file, 'followed');
    const folder = await openFolder(safe, false);
    try {
      const names = (await namesIn(folder)).sort();
      const entries: FileFacts[] = [];
      for (let at = 0; at < names.length; at += LOOKED_AT_ONCE) {
        const looks = names.slice(at, at + LOOKED_AT_ONCE).map(async name => {
          const stats = await statIfThere(inside(folder, name));
          return stats && factsOf(path === '' ? name : `${path}/${name}`, stats);
        });
        // What has been removed while we list is left out.
        entries.push(...(await Promise.all(looks)).filter(facts => facts !== undefined));
      }
      return entries;
    } finally {
      await folder.close();
    }
  }

  async open({ file, offset, length }: DownloadFileRequest): Promise<Content> {
    if (length < 0) throw new AgentError('invalid-request', 'length must not be negative');
    const { safe, path } = await resolveFile(this.paths, file, 'followed');
    return inParent(safe, async (parent, name) => {
      // O_NONBLOCK: opening a FIFO that someone put there must not wait for its writer.
      const handle = await openNamed(parent, name, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const stats = await handle.stat({ bigint: true });
        if (!stats.isFile()) throw new AgentError('invalid-path', 'what is there is not a file');
        const facts = factsOf(path, stats);
        const begin = Math.max(0, offset < 0 ? facts.sizeBytes + offset : offset);
        const rest = Math.max(0, facts.sizeBytes - begin);
        const opened = { facts, offset: begin, length: length === 0 ? rest : Math.min(length, rest) };
        return { opened, chunks: () => chunksOf(handle, opened), close: () => handle.close() };
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  beginUpload(request: BeginUpload): Promise<Upload> {
    return Upload.begin(this.paths, this.#turns, request);
  }

  /**
   * Away from one moment to the next, however much it is: what is removed is first moved out of the server's folder. The
   * rest takes its time, and is done at the next boot when a crash comes between.
   */
  async remove(file: FilePath): Promise<void> {
    const { safe, serverId } = await resolveFile(this.paths, file, 'kept');
    const trashed = join(this.paths.trash, `${serverId}-removed-${randomUUID()}`);
    await mkdir(this.paths.trash, { recursive: true });
    await this.#turns.take(serverId, () =>
      inParent(safe, async (parent, name) => {
        await rename(inside(parent, name), trashed);
        await parent.sync();
      }),
    );
    rm(trashed, { recursive: true, force: true }).catch((error: unknown) =>
      this.log.warn({ err: error, server_id: serverId }, 'removed files are still in the trash'),
    );
  }

  async makeFolder(file: FilePath): Promise<FileFacts> {
    const { safe, serverId, path } = await resolveFile(this.paths, file, 'kept');
    const make = async (parent: FileHandle, name: string): Promise<FileFacts> => {
      try {
        await mkdir(inside(parent, name));
      } catch (error) {
        if (errnoOf(error) === 'EEXIST') throw new AgentError('file-exists', 'something has that name');
        throw error;
      }
      await parent.sync();
      return factsAt(parent, name, path);
    };
    return this.#turns.take(serverId, () => inParent(safe, make, true));
  }

  async rename({ from, to }: RenameFileRequest): Promise<FileFacts> {
    const source = await resolveFile(this.paths, from, 'kept');
    const { serverId } = source;
    const target = await resolveFile(this.paths, { serverId, path: to }, 'kept');
    return this.#turns.take(serverId, () =>
      inParent(source.safe, (sourceParent, sourceName) =>
        inParent(target.safe, async (targetParent, targetName) => {
          await assertNothingAt(inside(targetParent, targetName));
          await rename(inside(sourceParent, sourceName), inside(targetParent, targetName));
          await Promise.all([sourceParent.sync(), targetParent.sync()]);
          return factsAt(targetParent, targetName, target.path);
        }),
      ),
    );
  }
}

async function namesIn(folder: FileHandle): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of await opendir(`/proc/self/fd/${folder.fd}`)) {
    if (names.length === LISTED_MAX) {
      throw new AgentError('folder-too-large', `the folder has more than ${LISTED_MAX} entries`);
    }
    names.push(name);
  }
  return names;
}

async function factsAt(parent: FileHandle, name: string, path: string): Promise<FileFacts> {
  const stats = await statIfThere(inside(parent, name));
  if (stats === undefined) throw new AgentError('file-not-found', 'it was removed in the same moment');
  return factsOf(path, stats);
}

async function* chunksOf(handle: FileHandle, { offset, length }: OpenedFile): AsyncGenerator<Buffer> {
  for (let position = offset; position < offset + length;) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, offset + length - position));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) throw new AgentError('file-changing', 'the file was cut while it was read');
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
