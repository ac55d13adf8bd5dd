import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { endProcess, identify, isAlive, type Escalation, type ProcessIdentity } from './processTable.js';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that we started and that serves until told otherwise. */
export interface Service {
  readonly pid: number;
  /** Resolves when the process is gone, however it went; never rejects. */
  readonly exited: Promise<Exit>;
  /** Ends it in order, and by force when that takes too long. Idempotent. */
  stop(): Promise<void>;
  /** Ends it at once, without waiting: for the last moment of our own process. */
  kill(): void;
}

export interface ServiceSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** The file that its output is appended to; absent, it shares ours. */
  readonly output?: string;
  /** How it is asked to end, the most polite way first. */
  readonly stopBy: Escalation;
  /** What `kill` sends. */
  readonly killBy?: NodeJS.Signals;
  /** Where pid and start time are kept, so that a later process can find it after our own kill −9. */
  readonly pidFile: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Open files that it inherits as descriptors 3, 4, … */
  readonly files?: readonly number[];
}

/**
 * Starts a service in a process group of its own, so that a Ctrl-C at the terminal reaches us alone and parts end in
 * our order. Throws when it can't be run at all.
 */
export async function startService(spec: ServiceSpec): Promise<Service> {
  const log = spec.output === undefined ? undefined : openLog(spec.output);
  const output = log ?? 'inherit';
  const { uid, gid } = spec;
  const child = spawn(spec.command, spec.args, {
    cwd: spec.cwd,
    env: spec.env,
    detached: true,
    stdio: ['ignore', output, output, ...(spec.files ?? [])],
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  });
  if (log !== undefined) closeSync(log);
  const exited = new Promise<Exit>(resolve => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', error => reject(new Error(`${spec.name} can't be started: ${error.message}`)));
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${spec.name} has no pid`);
  const identity = identify(pid);
  if (identity) writePidFile(spec.pidFile, identity);
  void exited.then(() => rmSync(spec.pidFile, { force: true }));

  let stopping: Promise<void> | undefined;
  return {
    pid,
    exited,
    stop: () =>
      (stopping ??= (async () => {
        if (identity) await endProcess(identity, spec.stopBy);
        await exited;
      })()),
    kill: () => void child.kill(spec.killBy ?? 'SIGKILL'),
  };
}

const MAX_LOG_BYTES = 8 * 1024 * 1024;

/** Appends; what grew beyond the bound in earlier runs is kept once, as `.1`. */
function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

function writePidFile(path: string, identity: ProcessIdentity): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, JSON.stringify(identity), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The process that `pidFile` tells of, when it still runs: a predecessor of ours was killed and left it. */
export function readLeftover(pidFile: string): ProcessIdentity | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(pidFile, 'utf8'));
    if (typeof record !== 'object' || record === null || !('pid' in record) || !('started' in record))
      return undefined;
    const { pid, started } = record;
    if (typeof pid !== 'number' || typeof started !== 'string') return undefined;
    return isAlive({ pid, started }) ? { pid, started } : undefined;
  } catch {
    return undefined;
  }
}

/** Ends what a killed predecessor left, if anything. True when there was something. */
export async function endLeftover(pidFile: string, stopBy: Escalation): Promise<boolean> {
  const leftover = readLeftover(pidFile);
  if (leftover) await endProcess(leftover, stopBy);
  rmSync(pidFile, { force: true });
  return leftover !== undefined;
}

export const describeExit = ({ code, signal }: Exit): string =>
  signal === null ? `exit code ${code}` : `signal ${signal}`;

export const pidFileOf = (dataDir: string, name: string): string => join(dataDir, 'run', `${name}.json`);
export const logFileOf = (dataDir: string, name: string): string => join(dataDir, 'logs', `${name}.log`);
