import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { AgentError, errnoOf, saysDiskFull } from '../errors.js';
import { syncFileSystem } from '../files.js';

/** A JDK has 350 MB in about 600 files. */
const UNPACKED_BYTES_MAX = 1024 * 1024 * 1024;
const ENTRIES_MAX = 20_000;
const STDERR_CHARS_MAX = 2_000;

export interface Limits {
  readonly bytes: number;
  readonly entries: number;
}

const LIMITS: Limits = { bytes: UNPACKED_BYTES_MAX, entries: ENTRIES_MAX };

/**
 * Unpacks a tar.gz into an empty folder, on disk when this resolves. Throws `java-unusable` for an archive that is none,
 * that is larger than the limits, or in which anything leads out of the folder; `disk-full`; the signal's reason.
 *
 * The system's tar does it: it is on every Linux, and GNU's, BSD's and busybox's all refuse names with `..`, strip the
 * leading slash and write through no link that the archive brings. We inflate, so that a bomb ends at the limit, and
 * look at every link afterwards.
 */
export async function unpack(
  archive: string,
  folder: string,
  { path, signal, limits = LIMITS }: { path: string; signal: AbortSignal; limits?: Limits },
): Promise<void> {
  const ended = new AbortController();
  const tar = spawn('tar', ['-x', '-v', '-o', '-f', '-', '-C', folder], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: path, LC_ALL: 'C' },
    signal: AbortSignal.any([signal, ended.signal]),
    killSignal: 'SIGKILL',
  });
  let entries = 0;
  let stderr = '';
  // One line an entry: tar escapes line feeds in names.
  tar.stdout.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 0x0a) entries += 1;
    if (entries > limits.entries)
      ended.abort(unusable(`the archive has more than ${limits.entries} entries`));
  });
  tar.stderr.on('data', (chunk: Buffer) => {
    if (stderr.length < STDERR_CHARS_MAX) stderr += chunk.toString();
  });
  const exited = once(tar, 'close').then(([code]: unknown[]) => code);
  const [fed, code] = await Promise.allSettled([
    pipeline(createReadStream(archive), createGunzip(), upTo(limits.bytes), tar.stdin),
    exited,
  ]);
  signal.throwIfAborted();
  ended.signal.throwIfAborted();
  if (fed.status === 'rejected' && !isHungUp(fed.reason)) throw nameFault(fed.reason);
  if (code.status === 'rejected') throw nameFault(code.reason);
  if (code.value !== 0) throw explain(stderr);
  await checkLinks(await realpath(folder), folder);
  await syncFileSystem(folder);
}

/** Tar has ended before its input did: how it ended tells why, and what follows the archive's end is of no interest. */
function isHungUp(error: unknown): boolean {
  return ['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(errnoOf(error) ?? '');
}

function upTo(bytesMax: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > bytesMax) done(unusable(`the archive unpacks to more than ${bytesMax} bytes`));
      else done(null, chunk);
    },
  });
}

function explain(stderr: string): AgentError {
  if (saysDiskFull(stderr)) return new AgentError('disk-full', 'the disk is full');
  return unusable(`tar refuses the archive: ${stderr.split('\n', 1)[0]?.slice(0, 200)}`);
}

function nameFault(error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === 'ENOENT') return new AgentError('agent-unsupported', 'PATH has no tar to unpack Java with');
  if (errno?.startsWith('Z_')) return unusable('the archive is no whole gzip');
  return error;
}

/** There are files, folders and links, and no link leads out of `root`. */
async function checkLinks(root: string, folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const facts = await lstat(path);
    if (facts.isDirectory()) await checkLinks(root, path);
    else if (facts.isSymbolicLink()) await checkLink(root, path);
    else if (!facts.isFile())
      throw unusable('the archive has something that is neither file, folder nor link');
  }
}

async function checkLink(root: string, path: string): Promise<void> {
  let target: string;
  try {
    target = await realpath(path);
  } catch {
    throw unusable('a link of the archive leads nowhere');
  }
  if (!target.startsWith(root + sep)) throw unusable('a link of the archive leads out of it');
}

export function unusable(detail: string): AgentError {
  return new AgentError('java-unusable', detail);
}
