import { readdir } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { type ProcessIdentity, type ProcessStat, readStat } from '../server/process.js';
import { clockTicksPerSecond, pageBytes } from '../system.js';

/** What a JVM and all that it has started have used. */
export interface TreeUse {
  /** Since they were started, with those that have ended. */
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
}

/** After so many processes others get a turn: some milliseconds. */
const READ_AT_ONCE = 100;

/**
 * All processes of the host that belong to sessions of the given JVMs, from one walk through /proc. The guard makes each
 * JVM the leader of a session, and what a JVM starts stays in it, whoever becomes its parent.
 */
export class ProcessTable {
  private constructor(private readonly sessions: ReadonlyMap<number, readonly ProcessStat[]>) {}

  static async read(jvms: readonly ProcessIdentity[]): Promise<ProcessTable> {
    const sessions = new Map<number, ProcessStat[]>(jvms.map(({ pid }) => [pid, []]));
    if (sessions.size === 0) return new ProcessTable(sessions);
    const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number);
    for (const [index, pid] of pids.entries()) {
      if (index % READ_AT_ONCE === READ_AT_ONCE - 1) await breathe();
      const stat = readStat(pid);
      // Its own session too: between fork and setsid it is still in its guard's.
      if (stat) (sessions.get(stat.session) ?? sessions.get(pid))?.push(stat);
    }
    return new ProcessTable(sessions);
  }

  /** Undefined when the JVM has ended, or its pid is another process's by now. */
  useOf(jvm: ProcessIdentity): TreeUse | undefined {
    const members = this.sessions.get(jvm.pid) ?? [];
    const isThere = members.some(
      ({ pid, startTicks, state }) => pid === jvm.pid && startTicks === jvm.startTicks && state !== 'Z',
    );
    if (!isThere) return undefined;
    const sum = (of: (stat: ProcessStat) => number): number =>
      members.reduce((total, stat) => total + of(stat), 0);
    return {
      cpuSeconds: sum(({ cpuTicks }) => cpuTicks) / clockTicksPerSecond(),
      memoryBytes: sum(({ residentPages }) => residentPages) * pageBytes(),
    };
  }
}
