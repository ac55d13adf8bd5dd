import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, copyFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AgentError, saysDiskFull } from '../errors.js';
import { syncFileSystem } from '../files.js';
import { folderSize } from '../sampling/folderSize.js';
import { diskUse } from '../system.js';

const LOOK_EVERY_MS = 2_000;
const STDERR_CHARS_MAX = 2_000;
/** What other servers of the host may want to write meanwhile. */
const SPARE_BYTES = 256 * 1024 * 1024;

export interface CopyTree {
  readonly from: string;
  /** Does not exist yet; on the same file system. */
  readonly to: string;
  readonly path: string;
  readonly signal: AbortSignal;
  /** Total is 0 where it is not known. */
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

/**
 * Copies a folder with all that is in it, owners, times and links as they are, and brings it to the disk. Where the file
 * system can share blocks (Btrfs, XFS) that takes no room; elsewhere `disk-full` comes before anything is written, so
 * that no neighbour runs out of room. Rejects with the signal's reason; what is there by then is the caller's to remove.
 *
 * The system's cp does it: it clones, keeps holes, and dies with us.
 */
export async function copyTree({ from, to, path, signal, onProgress }: CopyTree): Promise<void> {
  const total = (await folderSize(from, path, signal)) ?? 0;
  signal.throwIfAborted();
  if (!(await canClone(join(to, '..')))) await assertRoom(from, total);
  onProgress(0, total);
  const ended = new AbortController();
  const looks = reportSize({ to, path, signal: ended.signal }, bytes =>
    onProgress(Math.min(bytes, total), total),
  );
  try {
    await runCopy(from, to, path, signal);
  } finally {
    ended.abort();
    await looks;
  }
  await syncFileSystem(to);
}

async function runCopy(from: string, to: string, path: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted(); // from here on the listener hears it
  const command = ['--pdeathsig', 'KILL', 'cp', '-a', '--reflink=auto', '--', `${from}/.`, to];
  const cp = spawn('setpriv', command, {
    env: { PATH: path, LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  cp.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (stderr = (stderr + text).slice(0, STDERR_CHARS_MAX)));
  const kill = (): void => void cp.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  try {
    await once(cp, 'close');
  } finally {
    signal.removeEventListener('abort', kill);
  }
  signal.throwIfAborted();
  if (cp.exitCode === 0) return;
  if (saysDiskFull(stderr)) throw new AgentError('disk-full', 'the disk is full');
  const said = stderr.split('\n', 1)[0]?.slice(0, 300) ?? '';
  throw new AgentError('agent-failed', `the server's folder can't be copied: ${said}`);
}

async function assertRoom(from: string, bytes: number): Promise<void> {
  const { freeBytes } = await diskUse(from);
  if (bytes + SPARE_BYTES <= freeBytes) return;
  const mib = (count: number): number => Math.ceil(count / 1024 / 1024);
  throw new AgentError(
    'disk-full',
    `a copy of the server's folder takes ${mib(bytes)} MiB, and ${mib(SPARE_BYTES)} MiB must stay free: there are ${mib(freeBytes)} MiB`,
  );
}

async function canClone(folder: string): Promise<boolean> {
  const source = join(folder, `.${randomBytes(4).toString('hex')}`);
  const clone = `${source}.clone`;
  try {
    await writeFile(source, 'x');
    await copyFile(source, clone, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  } finally {
    await Promise.all([source, clone].map(file => rm(file, { force: true })));
  }
}

/** Until aborted. Never rejects. */
async function reportSize(
  { to, path, signal }: Pick<CopyTree, 'to' | 'path' | 'signal'>,
  onSize: (bytes: number) => void,
): Promise<void> {
  while (!signal.aborted) {
    await pause(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
    const bytes = signal.aborted ? undefined : await folderSize(to, path, signal);
    if (bytes !== undefined) onSize(bytes);
  }
}
