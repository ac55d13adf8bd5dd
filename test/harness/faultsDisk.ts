import { execFile } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const MIB = 1024 * 1024;
const BALLAST = 'ballast';

/** A disk that exists for one process and its children, and goes with them: nothing is left to unmount. */
export interface SmallDisk {
  /** Where the process finds it. */
  path: string;
  /** Put before the command of that process; the disk is full but for `freeMib` then. */
  wrapper: readonly string[];
  /** The same folder as seen from outside. */
  pathOf(pid: number): string;
  /** Frees what was blocked from the beginning. */
  clear(pid: number): Promise<void>;
  /** Takes the last free byte. */
  fill(pid: number): Promise<void>;
}

/**
 * A tmpfs in a mount namespace of its own: as root, or in a user namespace where the kernel lets everybody have one.
 * Rejects where neither is allowed.
 */
export async function makeSmallDisk(
  path: string,
  size: { mib: number; freeMib: number },
): Promise<SmallDisk> {
  const unshare = await findUnshare();
  await mkdir(path, { recursive: true });
  const { mib, freeMib } = size;
  const script =
    `mount -t tmpfs -o size=${mib}m tmpfs "$0" && ` +
    `head -c $(( (${mib} - ${freeMib}) * ${MIB} )) /dev/zero >"$0/${BALLAST}" && exec "$@"`;
  const pathOf = (pid: number) => `/proc/${pid}/root${path}`;
  return {
    path,
    wrapper: [...unshare, 'sh', '-c', script, path],
    pathOf,
    clear: pid => rm(join(pathOf(pid), BALLAST)),
    async fill(pid) {
      const file = await open(join(pathOf(pid), BALLAST), 'w');
      try {
        // Ever smaller pieces, so that not even a line of a log finds room.
        for (const bytes of [MIB, 4096, 1]) {
          while (await wrote(file.write(Buffer.alloc(bytes)))) continue;
        }
      } finally {
        await file.close();
      }
    },
  };
}

async function findUnshare(): Promise<string[]> {
  const ways = [
    ['unshare', '--mount'],
    ['unshare', '--user', '--map-root-user', '--mount'],
  ];
  for (const way of ways) {
    const [command = '', ...args] = way;
    const works = promisify(execFile)(command, [...args, 'true'], { timeout: 10_000 });
    if (
      await works.then(
        () => true,
        () => false,
      )
    )
      return way;
  }
  throw new Error('a test of full disks needs root, or a kernel that allows unprivileged user namespaces');
}

async function wrote(write: Promise<{ bytesWritten: number }>): Promise<boolean> {
  try {
    return (await write).bytesWritten > 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}
