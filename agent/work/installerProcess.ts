import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { AgentError, errnoOf } from '../errors.js';
import { identify, isAlive, type ProcessIdentity, signalProcess } from '../server/process.js';

export interface InstallerSpec {
  /** The program and its arguments; no shell ever reads them. */
  readonly command: readonly string[];
  /** Its working directory. Names it, too: one installer a folder. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly limitMs: number;
  readonly signal: AbortSignal;
  /** What it has said last, at most twice a second. */
  readonly onLine: (line: string) => void;
}

/** In the environment of an installer and of all that it starts: the folder it works in. */
const MARK = 'AYMC_INSTALLER';
const TAIL_CHARS = 8 * 1024;
const LINE_EVERY_MS = 500;
/** For what is still in the pipes when the last of its processes is gone. */
const DRAIN_MS = 1_000;
const KILL_MS = 10_000;

/**
 * Runs an installer to its end: in a process group of its own, dead with the step and with the agent. When this settles
 * nothing of it runs any more, nor of one that an earlier agent has left in that folder. Throws `install-failed` when it
 * fails or takes too long, with its last words; the signal's reason when aborted.
 */
export async function runInstaller(spec: InstallerSpec): Promise<void> {
  const { command, folder, env, signal } = spec;
  await endInstallers(folder);
  signal.throwIfAborted();
  const timeout = AbortSignal.timeout(spec.limitMs);
  const over = AbortSignal.any([signal, timeout]);
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], {
    cwd: folder,
    env: { ...env, [MARK]: folder },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = tailOf(child, spec.onLine);
  const kill = (): void => killGroup(child);
  over.addEventListener('abort', kill);
  try {
    await once(child, 'exit');
  } finally {
    over.removeEventListener('abort', kill);
    await endInstallers(folder);
  }
  await output.drained();
  signal.throwIfAborted();
  if (timeout.aborted)
    throw new AgentError('install-failed', `the installer took longer than ${spec.limitMs / 60_000} minutes`);
  if (child.exitCode !== 0) {
    const how = child.exitCode === null ? `by ${child.signalCode}` : `with ${child.exitCode}`;
    const said = output.lines().slice(-5).join(' / ').slice(-400);
    throw new AgentError('install-failed', `the installer ended ${how}${said && `; it said: ${said}`}`);
  }
}

/**
 * Ends whatever an installer has left running that worked in this folder: what it started may be in other groups and
 * have other parents by now. They are known by their environment, so that no other process which got the pid is hit.
 */
export async function endInstallers(folder: string): Promise<void> {
  const deadline = performance.now() + KILL_MS;
  for (;;) {
    const left = await findMarked(folder);
    if (left.length === 0) return;
    for (const process of left) signalProcess(process, 'SIGKILL');
    if (performance.now() > deadline)
      throw new AgentError('install-failed', 'an earlier installer can’t be ended');
    await pause(20);
  }
}

async function findMarked(folder: string): Promise<ProcessIdentity[]> {
  const mark = `${MARK}=${folder}`;
  const found: ProcessIdentity[] = [];
  for (const name of await readdir('/proc')) {
    const process = /^\d+$/.test(name) ? identify(Number(name)) : undefined;
    if (process && (await environmentOf(name)).includes(mark) && isAlive(process)) found.push(process);
  }
  return found;
}

async function environmentOf(pid: string): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
  } catch {
    return []; // gone, or another user's
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

interface Output {
  /** Oldest first, of the last few thousand characters. */
  lines(): string[];
  /** Resolves when all that it said is here. */
  drained(): Promise<void>;
}

/** Bounded, however much it says and however long its lines are. */
function tailOf(child: ChildProcess, onLine: (line: string) => void): Output {
  let tail = '';
  let toldAt = -LINE_EVERY_MS;
  const lines = (text = tail): string[] =>
    text
      .split(/[\r\n]+/)
      .map(line => line.replace(/\p{Cc}/gu, ' ').trim())
      .filter(Boolean);
  const take = (text: string): void => {
    tail = (tail + text).slice(-TAIL_CHARS);
    if (performance.now() - toldAt < LINE_EVERY_MS) return;
    const line = lines(tail.slice(0, tail.lastIndexOf('\n') + 1)).at(-1);
    if (line === undefined) return; // none is complete
    toldAt = performance.now();
    onLine(line.slice(0, 200));
  };
  const streams = [child.stdout, child.stderr].filter(stream => stream !== null);
  for (const stream of streams) stream.setEncoding('utf8').on('data', take);
  const closed = once(child, 'close');
  closed.catch(() => undefined); // a spawn that failed is told by whoever waits for its exit
  return {
    lines,
    async drained() {
      await Promise.race([closed, pause(DRAIN_MS, undefined, { ref: false })]);
      for (const stream of streams) stream.destroy();
    },
  };
}
