import { readFileSync, readlinkSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { errnoOf } from '../errors.js';
import { bootId } from '../system.js';

/** A process that can't be mistaken for another one which got its pid later. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Kernel start time in clock ticks since boot. */
  readonly startTicks: number;
  readonly bootId: string;
}

/**
 * Whether exactly this process runs. A zombie is dead: where PID 1 does not reap, it keeps its pid and start time for
 * ever. Synchronous on purpose: one read of /proc, and nothing can happen between the look and the use of it.
 */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== bootId()) return false;
  const stat = readStat(identity.pid);
  return (
    stat !== undefined && stat.startTicks === identity.startTicks && stat.state !== 'Z' && stat.state !== 'X'
  );
}

/** Undefined when there is no such process. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat && { pid, startTicks: stat.startTicks, bootId: bootId() };
}

/** Signals the process, or its whole group; false when it is gone already. */
export function signalProcess(
  identity: ProcessIdentity,
  signal: 'SIGTERM' | 'SIGKILL',
  target: 'process' | 'group' = 'process',
): boolean {
  if (!isAlive(identity)) return false;
  if (target === 'group' && send(-identity.pid, signal)) return true;
  // Not a group leader yet: between fork and setsid there is no such group.
  return send(identity.pid, signal);
}

function send(pid: number, signal: 'SIGTERM' | 'SIGKILL'): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** The guard hands the lock on under this number (guard.sh). */
const LOCK_DESCRIPTOR = 9;

export interface LockHolder {
  readonly jvm: ProcessIdentity;
  /** Its parent. */
  readonly guard: ProcessIdentity;
  /** The file its standard output goes to: a run's console. */
  readonly output: string;
}

/**
 * Which processes hold which of our lock files, looked up by what they have open and not by what we noted down: finds a
 * JVM whose records are lost or forged. `lsof` for one descriptor; cheap enough for boot and for a refused start.
 */
export async function scanLockHolders(
  isOurs: (lockPath: string) => boolean,
): Promise<Map<string, LockHolder>> {
  const holders = new Map<string, LockHolder>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const lock = readLink(`/proc/${name}/fd/${LOCK_DESCRIPTOR}`);
    if (lock === undefined || !isOurs(lock)) continue;
    const output = readLink(`/proc/${name}/fd/1`);
    // The guard has the lock open too; the JVM is the one whose output is a console.
    if (output === undefined || !output.endsWith('/console.log')) continue;
    const jvm = identify(Number(name));
    const stat = jvm && readStat(jvm.pid);
    const guard = stat && identify(stat.parent);
    if (guard && jvm && stat.group === jvm.pid && isAlive(jvm)) holders.set(lock, { jvm, guard, output });
  }
  return holders;
}

export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly startTicks: number;
  /** Of all its threads, and of its children that have ended and were reaped. */
  readonly cpuTicks: number;
  readonly residentPages: number;
}

/** Undefined when there is no such process, or none any more. */
export function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** proc_pid_stat(5). The command in field 2 may hold spaces and brackets, hence the search for the last one. */
export function parseStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  if (state === undefined || fields.length < 22) return undefined;
  const field = (index: number): number => Number(fields[index]);
  return {
    pid: parseInt(text, 10),
    state,
    parent: field(1),
    group: field(2),
    session: field(3),
    cpuTicks: field(11) + field(12) + field(13) + field(14),
    startTicks: field(19),
    residentPages: field(21),
  };
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // gone, or another user's
  }
}
