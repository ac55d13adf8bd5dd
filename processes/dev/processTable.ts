import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that can't be confused with a later one of the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Boot id and start ticks on Linux, the start time elsewhere. */
  readonly started: string;
}

/** Whoever has this pid now, or undefined. A zombie is nobody: where PID 1 does not reap, it would stay for ever. */
export function identify(pid: number): ProcessIdentity | undefined {
  const started = process.platform === 'linux' ? startedOnLinux(pid) : startedElsewhere(pid);
  return started === undefined ? undefined : { pid, started };
}

export function isAlive({ pid, started }: ProcessIdentity): boolean {
  return identify(pid)?.started === started;
}

/** Field 22 of `/proc/<pid>/stat`, proc(5); the name in parentheses may itself hold spaces and parentheses. */
function startedOnLinux(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, ticks] = [fields[0], fields[19]];
    if (state === 'Z' || state === 'X' || ticks === undefined) return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${ticks}`;
  } catch {
    return undefined;
  }
}

function startedElsewhere(pid: number): string | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      timeout: 5000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return line === '' || line.startsWith('Z') ? undefined : line.replace(/^\S+\s+/, '');
  } catch {
    return undefined;
  }
}

/** Signals to try in turn, each with the time it has to work, in milliseconds. */
export type Escalation = readonly (readonly [signal: NodeJS.Signals, waitMs: number])[];

/** Ends a process that need not be our child, and answers once it is gone. Throws when even the last signal fails. */
export async function endProcess(identity: ProcessIdentity, escalation: Escalation): Promise<void> {
  for (const [signal, waitMs] of escalation) {
    if (!sendSignal(identity, signal)) return;
    const deadline = performance.now() + waitMs;
    while (performance.now() < deadline) {
      await sleep(25);
      if (!isAlive(identity)) return;
    }
  }
  throw new Error(`process ${identity.pid} does not end`);
}

/** False when it is gone already. */
export function sendSignal(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch {
    return isAlive(identity);
  }
}
