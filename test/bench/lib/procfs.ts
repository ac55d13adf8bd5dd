import { readFileSync } from 'node:fs';

/** USER_HZ, which is 100 on every architecture that Node runs on: proc(5), sysconf(3). */
const TICKS_PER_SECOND = 100;

/** Resident memory of a process, in bytes. `pss` counts pages shared with others by its share of them. */
export function memoryOf(pid: number): { rss: number; pss: number } {
  const read = (file: string, field: string): number => {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(
      readFileSync(`/proc/${pid}/${file}`, 'utf8'),
    )?.[1];
    if (kilobytes === undefined) throw new Error(`/proc/${pid}/${file} has no ${field}`);
    return Number(kilobytes) * 1024;
  };
  return { rss: read('status', 'VmRSS'), pss: read('smaps_rollup', 'Pss') };
}

/** Seconds of processor time that a process has used, its ended and waited-for children included. */
export function cpuSecondsOf(pid: number): number {
  const fields = statOf(pid);
  const ticks = fields.slice(11, 15).map(Number);
  return ticks.reduce((sum, ticked) => sum + ticked, 0) / TICKS_PER_SECOND;
}

export function parentOf(pid: number): number {
  return Number(statOf(pid)[1]);
}

export function nameOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
}

/** The fields of `/proc/<pid>/stat` from the third, the state, on: the name before it may hold anything. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
