import {
  AgentServiceService,
  type BeginUpload,
  type DownloadChunk,
  type FilePath,
  type OpenedFile,
  type UploadPart,
} from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { Calls } from './calls.js';
import type { AgentFiles, Download, FileTarget, UploadRules } from './gateway.js';

/** What the wire allows a message to carry. */
const CHUNK_BYTES = 256 * 1024;
/** For one chunk to be taken or to come, and for an uploaded file to reach the disk at last. */
const IDLE_MS = 60_000;

/** Agents that announce the capability `files`. */
export function filesOfVersion2(calls: Calls): AgentFiles {
  const rpc = AgentServiceService;
  return {
    async list(agent, folder, options = {}) {
      const request = pathOf(folder);
      return (await calls.unary({ agent, method: rpc.listFolder, request, options })).entries;
    },
    async download(agent, file, { offset, length }, options = {}) {
      const request = { file: pathOf(file), offset, length };
      const chunks = calls.download({ agent, method: rpc.downloadFile, request, options, idleMs: IDLE_MS });
      return opened(chunks[Symbol.asyncIterator]());
    },
    upload: (agent, file, rules, content, options = {}) =>
      calls.upload(
        { agent, method: rpc.uploadFile, options, idleMs: IDLE_MS },
        partsOf(beginning(file, rules), content),
      ),
    async remove(agent, file, options = {}) {
      await calls.unary({ agent, method: rpc.deleteFile, request: pathOf(file), options });
    },
    makeFolder: (agent, folder, options = {}) =>
      calls.unary({ agent, method: rpc.makeFolder, request: pathOf(folder), options }),
    rename: (agent, file, to, options = {}) =>
      calls.unary({ agent, method: rpc.renameFile, request: { from: pathOf(file), to }, options }),
  };
}

function pathOf({ serverId, path }: FileTarget): FilePath {
  return { serverId, path };
}

async function opened(chunks: AsyncIterator<DownloadChunk>): Promise<Download> {
  const first = await chunks.next();
  const chunk = first.done ? undefined : first.value.chunk;
  if (chunk?.$case !== 'opened') {
    await chunks.return?.();
    throw new AppError('agent-failed', { detail: 'The agent does not say what it opened' });
  }
  return { opened: chunk.opened, content: contentOf(chunk.opened, chunks) };
}

function contentOf({ length }: OpenedFile, chunks: AsyncIterator<DownloadChunk>): Download['content'] {
  let left = length;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const next = await chunks.next();
      if (next.done) {
        if (left !== 0) throw new AppError('agent-failed', { detail: 'The agent sent another length' });
        return { done: true, value: undefined };
      }
      const { chunk } = next.value;
      const data = chunk?.$case === 'data' ? chunk.data : new Uint8Array();
      left -= data.length;
      return { done: false, value: data };
    },
    async return() {
      await chunks.return?.();
      return { done: true, value: undefined };
    },
  };
}

function beginning(file: FileTarget, { expected, createFolders }: UploadRules): BeginUpload {
  const begin = { file: pathOf(file), createFolders };
  if (expected === 'anything') return { ...begin, expected: undefined };
  if (expected === 'nothing') return { ...begin, expected: { $case: 'nothing', nothing: true } };
  return { ...begin, expected: { $case: 'etag', etag: expected.etag } };
}

async function* partsOf(begin: BeginUpload, content: AsyncIterable<Uint8Array>): AsyncGenerator<UploadPart> {
  yield { part: { $case: 'begin', begin } };
  let sizeBytes = 0;
  for await (const bytes of content) {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      yield { part: { $case: 'data', data: bytes.subarray(at, at + CHUNK_BYTES) } };
    }
    sizeBytes += bytes.length;
  }
  yield { part: { $case: 'end', end: { sizeBytes } } };
}
