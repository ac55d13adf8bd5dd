import type { AgentServiceServer, DownloadChunk, UploadedFile, UploadPart } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import type { Upload } from '../serverFiles/upload.js';
import type { RpcDeps } from './deps.js';
import { clientStream, type Out, serverStream, unary } from './handlers.js';

export type FileRpcs = Pick<
  AgentServiceServer,
  'listFolder' | 'downloadFile' | 'uploadFile' | 'deleteFile' | 'makeFolder' | 'renameFile'
>;

/** Up and down together; each may hold a few megabytes. */
const TRANSFERS_MAX = 64;
/** Longer than the control plane waits for its own clients, which is who should be told. */
const IDLE_MS = 120_000;

export function fileRpcs(deps: RpcDeps): FileRpcs {
  const { serverFiles } = deps;
  let transfers = 0;
  async function transfer<T>(work: () => Promise<T>): Promise<T> {
    if (transfers >= TRANSFERS_MAX) {
      throw new AgentError('too-many-transfers', `${TRANSFERS_MAX} files are being moved already`);
    }
    transfers += 1;
    try {
      return await work();
    } finally {
      transfers -= 1;
    }
  }

  return {
    listFolder: unary(deps, async file => ({ entries: await serverFiles.list(file) })),
    downloadFile: serverStream(
      deps,
      (request, out, { signal }) =>
        transfer(async () => {
          const content = await serverFiles.open(request);
          try {
            await out.write({ chunk: { $case: 'opened', opened: content.opened } });
            await send(content.chunks(), out, signal);
          } finally {
            await content.close();
          }
        }),
      IDLE_MS,
    ),
    uploadFile: clientStream(deps, parts => transfer(() => receive(deps, parts)), IDLE_MS),
    deleteFile: unary(deps, async file => {
      await serverFiles.remove(file);
      return {};
    }),
    makeFolder: unary(deps, file => serverFiles.makeFolder(file)),
    renameFile: unary(deps, request => serverFiles.rename(request)),
  };
}

async function send(
  chunks: AsyncIterable<Buffer>,
  out: Out<DownloadChunk>,
  signal: AbortSignal,
): Promise<void> {
  for await (const data of chunks) {
    signal.throwIfAborted();
    await out.write({ chunk: { $case: 'data', data } });
  }
}

/** Nothing has happened unless `end` came: a stream that breaks off, or just ends, changes nothing. */
async function receive({ serverFiles }: RpcDeps, parts: AsyncIterable<UploadPart>): Promise<UploadedFile> {
  let upload: Upload | undefined;
  try {
    for await (const { part } of parts) {
      if (part?.$case === 'begin' && upload === undefined) {
        upload = await serverFiles.beginUpload(part.begin);
      } else if (part?.$case === 'data' && upload !== undefined) {
        await upload.write(part.data);
      } else if (part?.$case === 'end' && upload !== undefined) {
        return await upload.finish(part.end.sizeBytes);
      } else {
        throw new AgentError('invalid-request', 'an upload is `begin`, then `data`, then `end`');
      }
    }
    throw new AgentError('cancelled', 'the upload broke off');
  } finally {
    await upload?.discard();
  }
}
