import type { AgentServiceServer, DownloadProgress, DownloadRequest } from '#proto/gen/agent.js';
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, toAgentError } from '../errors.js';
import { downloadFile } from '../work/download.js';
import type { RpcDeps } from './deps.js';
import { type Out, serverStream, unary } from './handlers.js';

export type Files = Pick<AgentServiceServer, 'readFile' | 'writeFile' | 'listFiles' | 'downloadServer'>;

const PROGRESS_EVERY_MS = 250;

export function version1Files(deps: RpcDeps): Files {
  const { files } = deps;
  return {
    readFile: unary(deps, async ({ path, offset, length }) => {
      if (offset < 0 || length < 0)
        throw new AgentError('invalid-request', 'offset and length must not be negative');
      const { content, stats } = await files.read(path, offset, length);
      return { content, size: stats.size, modifiedTime: seconds(stats.mtimeMs) };
    }),

    writeFile: unary(deps, async ({ path, content, createDirs }) => {
      await files.write(path, content, createDirs);
      return { success: true, message: 'ok' };
    }),

    listFiles: unary(deps, async ({ path, recursive }) => ({
      files: (await files.list(path, recursive)).map(({ name, path: listedPath, stats }) => ({
        name,
        path: listedPath,
        size: stats.size,
        isDir: stats.isDirectory(),
        modifiedTime: seconds(stats.mtimeMs),
        permissions: stats.mode & 0o777,
      })),
    })),

    downloadServer: serverStream(deps, (request, out, { signal }) =>
      downloadServer(deps, request, out, signal),
    ),
  };
}

/** The jar at `url`, verified when a hash is given, put at `destination` below the work dir. */
async function downloadServer(
  { paths, files, refusesAddress }: RpcDeps,
  request: DownloadRequest,
  out: Out<DownloadProgress>,
  signal: AbortSignal,
): Promise<void> {
  const { url, destination, sha256 } = request;
  let downloaded = 0;
  let total = 0;
  const progress = (status: string, more: Partial<DownloadProgress> = {}): DownloadProgress => ({
    downloaded,
    total,
    percent: total > 0 ? (100 * downloaded) / total : 0,
    status,
    complete: false,
    error: '',
    ...more,
  });
  const partPath = join(paths.cache, `v1-${randomUUID()}.part`);
  // Only ever one progress message under way: the caller's pace is not the download's.
  let sending: Promise<void> | undefined;
  let sentAt = 0;
  try {
    if (url === '') throw new AgentError('artifact-unknown', 'this agent downloads from the url it is given');
    if (sha256 !== '' && !/^[0-9a-f]{64}$/i.test(sha256))
      throw new AgentError('invalid-request', 'sha256 must be hex');
    await mkdir(paths.cache, { recursive: true });
    await downloadFile({
      url,
      checksum: sha256 === '' ? undefined : { algorithm: 'sha256', hex: sha256.toLowerCase() },
      sizeBytes: 0,
      partPath,
      refuses: refusesAddress,
      signal,
      onProgress: (done, ofTotal) => {
        downloaded = done;
        total = ofTotal;
        if (sending || performance.now() - sentAt < PROGRESS_EVERY_MS) return;
        sentAt = performance.now();
        sending = out.write(progress('downloading')).finally(() => (sending = undefined));
      },
    });
    await files.place(partPath, destination);
    await sending;
    await out.write(progress('complete', { percent: 100, complete: true }));
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, detail } = toAgentError(error);
    await sending;
    await out.write(progress('failed', { error: `${code}: ${detail}` }));
  } finally {
    await rm(partPath, { force: true });
  }
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
