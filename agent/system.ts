import { readFileSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { cpus, totalmem, uptime } from 'node:os';

let knownBootId: string | undefined;

/** Of the running kernel. */
export function bootId(): string {
  knownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return knownBootId;
}

/** Seconds of CLOCK_BOOTTIME: goes on while the host sleeps, never steps. All durations that must survive us use it. */
export function bootSeconds(): number {
  return uptime();
}

/** `linux/auxvec.h` */
const AT_PAGESZ = 6n;
const AT_CLKTCK = 17n;

let knownAuxiliaries: ReadonlyMap<bigint, number> | undefined;

/** The unit of memory in /proc. */
export function pageBytes(): number {
  return auxiliary(AT_PAGESZ) ?? 4096;
}

/** The unit of time in /proc. */
export function clockTicksPerSecond(): number {
  return auxiliary(AT_CLKTCK) ?? 100;
}

/** What the kernel tells every process at its start: pairs of machine words. */
function auxiliary(key: bigint): number | undefined {
  if (knownAuxiliaries === undefined) {
    const words = new BigUint64Array(new Uint8Array(readFileSync('/proc/self/auxv')).buffer);
    const pairs = new Map<bigint, number>();
    for (let i = 0; i + 1 < words.length; i += 2) pairs.set(words[i] ?? 0n, Number(words[i + 1]));
    knownAuxiliaries = pairs;
  }
  return knownAuxiliaries.get(key);
}

export function cpuCores(): number {
  return cpus().length;
}

export function memoryTotalBytes(): number {
  return totalmem();
}

/** Name and version of the distribution, e.g. `Debian GNU/Linux 12 (bookworm)`. */
export async function osName(): Promise<string> {
  try {
    const release = await readFile('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]+)"?$/m.exec(release)?.[1] ?? 'Linux';
  } catch {
    return 'Linux';
  }
}

export interface DiskUse {
  totalBytes: number;
  usedBytes: number;
  freeBytes: number;
}

/** Of the file system that holds `path`; free is what an ordinary user may still take. */
export async function diskUse(path: string): Promise<DiskUse> {
  const fs = await statfs(path);
  return {
    totalBytes: fs.blocks * fs.bsize,
    usedBytes: (fs.blocks - fs.bfree) * fs.bsize,
    freeBytes: fs.bavail * fs.bsize,
  };
}

/** Total minus available, as `free` counts it: caches are not used memory. */
export async function memoryUsedBytes(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
  return (kib('MemTotal') - kib('MemAvailable')) * 1024;
}

/** Bytes through all interfaces but loopback since boot. */
export async function networkBytes(): Promise<{ sent: number; received: number }> {
  const text = await readFile('/proc/net/dev', 'utf8');
  let sent = 0;
  let received = 0;
  for (const line of text.split('\n').slice(2)) {
    const [name, counters] = line.split(':');
    if (counters === undefined || name?.trim() === 'lo') continue;
    const fields = counters.trim().split(/\s+/).map(Number);
    received += fields[0] ?? 0;
    sent += fields[8] ?? 0;
  }
  return { sent, received };
}

/** Processes that the kernel has killed for want of memory since boot, anywhere on the host; 0 where it does not say. */
export function oomKills(): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'latin1'))?.[1] ?? 0);
  } catch {
    return 0; // some containers hide it
  }
}

const LISTEN = '0A';

/** TCP ports that someone listens on, ascending. */
export async function listeningPorts(): Promise<number[]> {
  const ports = new Set<number>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let text: string;
    try {
      text = await readFile(table, 'utf8');
    } catch {
      continue; // a kernel without IPv6 has no tcp6
    }
    for (const line of text.split('\n').slice(1)) {
      const [, local, , state] = line.trim().split(/\s+/);
      if (state === LISTEN && local !== undefined)
        ports.add(parseInt(local.slice(local.indexOf(':') + 1), 16));
    }
  }
  return [...ports].sort((a, b) => a - b);
}

/** CPU use between two calls of `percent`; the first one measures from the making of the meter. */
export class CpuMeter {
  #last = cpuTimes();

  percent(): number {
    const now = cpuTimes();
    const total = now.total - this.#last.total;
    const idle = now.idle - this.#last.idle;
    this.#last = now;
    return total <= 0 ? 0 : Math.round((1000 * (total - idle)) / total) / 10;
  }
}

function cpuTimes(): { total: number; idle: number } {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const times = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { total: times.reduce((sum, t) => sum + t, 0), idle: (times[3] ?? 0) + (times[4] ?? 0) };
}
