import { execFile } from 'node:child_process';
import { constants, setPriority } from 'node:os';

/** A folder that takes longer is not measured. */
const WALK_TIMEOUT_MS = 2 * 60_000;

/**
 * What a folder takes on the disk, in bytes: the blocks of all its files, each file once, symbolic links not followed.
 * By `du`, at the lowest priority, since a world has ten thousands of files: a walk of our own would take our event
 * loop's time. Files that vanish meanwhile don't count. Undefined when it could not be told.
 */
export function folderSize(folder: string, path: string, signal: AbortSignal): Promise<number | undefined> {
  return new Promise(resolve => {
    const options = { cwd: folder, env: { PATH: path, LC_ALL: 'C' }, timeout: WALK_TIMEOUT_MS, signal };
    const du = execFile('du', ['-sk', '.'], options, (_error, stdout) => {
      // It also ends with 1 when a file vanished under its feet, and tells the sum all the same.
      const kib = /^(\d+)\t\.\n$/.exec(stdout)?.[1];
      resolve(kib === undefined ? undefined : Number(kib) * 1024);
    });
    try {
      if (du.pid !== undefined) setPriority(du.pid, constants.priority.PRIORITY_LOW);
    } catch {
      // ended already
    }
  });
}
