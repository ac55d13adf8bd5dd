import { createHash } from 'node:crypto';
import { AgentServiceService, FileKind, type FileContent, type FileFacts } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { Calls } from './calls.js';
import { saysMissing } from './errors.js';
import type {
  AgentAddress,
  AgentFiles,
  ByteRange,
  CallOptions,
  Download,
  FileTarget,
  UploadRules,
} from './gateway.js';

/** Whole files travel in one message of at most 10 MiB. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;
const LISTED_MAX = 10_000;

/**
 * Agents of version 1: paths of the host, whole files, no conditions. What a file must be is looked at before it is
 * written, so of two writers at the same moment both may succeed.
 */
export function filesOfVersion1(calls: Calls): AgentFiles {
  const rpc = AgentServiceService;

  async function read(agent: AgentAddress, file: FileTarget, options: CallOptions): Promise<FileContent> {
    const request = { path: hostPath(file), offset: 0, length: 0 };
    try {
      return await calls.unary({ agent, method: rpc.readFile, request, options });
    } catch (error) {
      throw asMissing(error);
    }
  }

  async function assertExpected(
    agent: AgentAddress,
    file: FileTarget,
    { expected }: UploadRules,
    options: CallOptions,
  ): Promise<void> {
    if (expected === 'anything') return;
    const current = await read(agent, file, options).catch((error: unknown) => {
      if (error instanceof AppError && error.code === 'file-not-found') return undefined;
      throw error;
    });
    const isExpected =
      expected === 'nothing' ? current === undefined : current && hashOf(current.content) === expected.etag;
    if (!isExpected) throw new AppError('precondition-failed');
  }

  return {
    async list(agent, folder, options = {}) {
      const request = { path: hostPath(folder), recursive: false };
      const { files } = await calls
        .unary({ agent, method: rpc.listFiles, request, options })
        .catch((error: unknown) => {
          throw asMissing(error);
        });
      if (files.length > LISTED_MAX) throw new AppError('folder-too-large');
      const entries = files.map(({ name, size, isDir, modifiedTime, permissions }): FileFacts => {
        return {
          path: folder.path === '' ? name : `${folder.path}/${name}`,
          kind: isDir ? FileKind.FOLDER : FileKind.FILE,
          sizeBytes: isDir ? 0 : size,
          modifiedMs: modifiedTime * 1000,
          permissions: permissions & 0o777,
          etag: '',
        };
      });
      return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
    },

    async download(agent, file, range, options = {}) {
      return cut(file, await read(agent, file, options), range);
    },

    async upload(agent, file, rules, content, options = {}) {
      const bytes = await gather(content);
      await assertExpected(agent, file, rules, options);
      const request = { path: hostPath(file), content: bytes, createDirs: rules.createFolders };
      const { success, message } = await calls.unary({ agent, method: rpc.writeFile, request, options });
      if (!success) throw asMissing(new AppError('agent-refused', { detail: message }));
      const sha256 = hashOf(bytes);
      return { facts: factsOf(file, bytes, Date.now()), sha256 };
    },

    remove: () => unsupported(),
    makeFolder: () => unsupported(),
    rename: () => unsupported(),
  };
}

function hostPath({ workDir, serverId, path }: FileTarget): string {
  if (workDir === null) {
    throw new AppError('agent-unsupported', {
      detail: 'The agent is of version 1: its files can be reached once its work_dir is set',
    });
  }
  return [workDir.replace(/\/+$/, ''), serverId, ...(path === '' ? [] : [path])].join('/');
}

function cut(file: FileTarget, { content, modifiedTime }: FileContent, range: ByteRange): Download {
  const facts = factsOf(file, content, modifiedTime * 1000);
  const offset = Math.max(0, range.offset < 0 ? content.length + range.offset : range.offset);
  const rest = Math.max(0, content.length - offset);
  const length = range.length === 0 ? rest : Math.min(range.length, rest);
  const pieces = length === 0 ? [] : [content.subarray(offset, offset + length)];
  return {
    opened: { facts, offset, length },
    content: {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: async () => {
        const value = pieces.shift();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
      return: async () => {
        pieces.length = 0;
        return { done: true, value: undefined };
      },
    },
  };
}

/** Two texts of the same hash are the same text. */
function factsOf({ path }: FileTarget, content: Uint8Array, modifiedMs: number): FileFacts {
  return {
    path,
    kind: FileKind.FILE,
    sizeBytes: content.length,
    modifiedMs,
    permissions: 0o644,
    etag: hashOf(content),
  };
}

async function gather(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const bytes of content) {
    size += bytes.length;
    if (size > FILE_BYTES_MAX) {
      throw new AppError('body-too-large', {
        detail: `The agent is of version 1 and takes files of up to ${FILE_BYTES_MAX} bytes`,
      });
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function asMissing(error: unknown): unknown {
  if (!(error instanceof AppError) || !saysMissing(error)) return error;
  return new AppError('file-not-found', { cause: error });
}

function unsupported(): Promise<never> {
  return Promise.reject(
    new AppError('agent-unsupported', { detail: 'Agents of version 1 only list, read and write files' }),
  );
}

function hashOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
