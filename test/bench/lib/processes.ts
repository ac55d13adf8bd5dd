import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from '#test/harness/waitFor.js';

const DIST = fileURLToPath(new URL('../../../dist/', import.meta.url));
const READY_TIMEOUT_MS = 60_000;

/** Of the compiled product: `processes/app`, `agent/main` … */
export const compiled = (module: string): string => join(DIST, `${module}.js`);

/**
 * A folder of this benchmark alone. Everything it starts works in there, so whatever happens, this process's end ends
 * all that is left (Minecraft servers outlive their agent by design) and removes the folder.
 */
export async function makeWorkFolder(): Promise<{ path: string; release(): void }> {
  const path = await mkdtemp(join(tmpdir(), 'aymc-bench-'));
  const release = (): void => {
    for (const pid of processesIn(path)) kill(pid);
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    process.off('exit', release);
  };
  process.once('exit', release);
  return { path, release };
}

/** Pids of everything whose working directory is the folder or lies in it. */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const cwd = readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '');
        return cwd === folder || cwd.startsWith(`${folder}/`);
      } catch {
        return false; // ended meanwhile, or a kernel thread
      }
    })
    .map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ended meanwhile
  }
}

export interface ProgramOptions {
  /** Handed to node: its own options, the script, arguments. */
  args: readonly string[];
  /** Beside what every process of this machine needs. */
  env: NodeJS.ProcessEnv;
  /** Below the work folder. */
  cwd: string;
  logFile: string;
  /** What its log says once it serves. */
  ready: RegExp;
  /** Whether the two can send messages to each other. */
  ipc?: boolean;
}

export interface Program {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly log: () => string;
  kill(): Promise<void>;
  /** As its supervisor would. */
  stop(): Promise<void>;
}

/** Runs a program under plain node and answers once it says that it is ready. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const { args, env, cwd, logFile, ready, ipc = false } = options;
  const output = openSync(logFile, 'a');
  const child = spawn(process.execPath, args, {
    cwd,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], LANG: process.env['LANG'], ...env },
    stdio: ['ignore', output, output, ...(ipc ? (['ipc'] as const) : [])],
  });
  closeSync(output);
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const log = (): string => readFileSync(logFile, 'utf8');
  await waitFor(() => isOver() || ready.test(log()), { timeoutMs: READY_TIMEOUT_MS, what: `${args.at(-1)}` });
  if (isOver()) throw new Error(`${args.at(-1)} ended while starting:\n${log()}`);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  return { pid: child.pid ?? 0, child, log, kill: () => end('SIGKILL'), stop: () => end('SIGTERM') };
}
