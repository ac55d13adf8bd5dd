import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { waitFor } from './waitFor.js';

export interface ProgramSpec {
  name: string;
  /** Below the repository, e.g. `processes/api.ts`. */
  script: string;
  /** Its whole environment, but for what every process of this machine needs. */
  env: NodeJS.ProcessEnv;
  /** Not the repository: a developer's own `.env` would be read there. */
  cwd: string;
  /** Its output is appended here. */
  logFile: string;
  /** What its log says once it serves. */
  ready: RegExp;
  /** A command that becomes the program given after it. */
  wrapper?: readonly string[];
}

/** What ran, however it was started: enough to kill it and to see it go. */
export interface Running {
  readonly pid: number;
  /** Resolves when the process is gone; never rejects. */
  readonly exited: Promise<unknown>;
  /** How it is asked to end, where SIGTERM is not the way. */
  stop?(): Promise<void>;
}

/** What a fault can hit. */
export interface Target {
  readonly name: string;
  readonly isUp: boolean;
  /** Throws while it is down. */
  readonly pid: number;
  /** kill −9; resolves when the process is gone. */
  kill(): Promise<void>;
  /** As a supervisor does after a death or for an upgrade: the same settings, folder and ports. */
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TSX = import.meta.resolve('tsx');
const READY_TIMEOUT_MS = 60_000;

/** Handed down as it is: a search path, a home, and where coverage goes (written by whoever ends in order). */
const INHERITED = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'XDG_CACHE_HOME', 'NODE_V8_COVERAGE'];

export function inheritedEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    INHERITED.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/** Everything started here that has not ended: whatever ends the test's process ends these, too. */
const children = new Set<ChildProcess>();
process.once('exit', () => children.forEach(child => child.kill('SIGKILL')));

/** Runs a program of ours from its sources and answers once it says that it is ready. */
export async function startProgram(spec: ProgramSpec): Promise<Running> {
  await mkdir(dirname(spec.logFile), { recursive: true });
  const written = await sizeOf(spec.logFile);
  const log = openSync(spec.logFile, 'a');
  const [command = '', ...args] = [
    ...(spec.wrapper ?? []),
    process.execPath,
    '--import',
    TSX,
    join(ROOT, spec.script),
  ];
  const child = spawn(command, args, {
    cwd: spec.cwd,
    env: { ...inheritedEnvironment(), ...spec.env },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  children.add(child);
  const exited = new Promise<void>(resolve => {
    child.once('exit', () => {
      children.delete(child);
      resolve();
    });
  });
  const isOver = () => child.exitCode !== null || child.signalCode !== null;
  await waitFor(async () => isOver() || spec.ready.test(await readFrom(spec.logFile, written)), {
    timeoutMs: READY_TIMEOUT_MS,
    what: `${spec.name} to be ready`,
  }).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  if (isOver()) {
    throw new Error(`${spec.name} ended while starting:\n${await readFrom(spec.logFile, written)}`);
  }
  return { pid: child.pid ?? 0, exited };
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

async function readFrom(path: string, offset: number): Promise<string> {
  return (await readFile(path)).subarray(offset).toString();
}

const REVIVE_AFTER_MS = 500;
const STOP_TIMEOUT_MS = 20_000;

/**
 * One part of a cluster under a supervisor, as every part of an installation is: one that dies by itself is started
 * again after a moment; one that the test has killed stays down until `restart`.
 */
export class Part implements Target {
  /** How often it has ended without being told to. */
  deaths = 0;
  #running: Running | undefined;
  #wanted = false;
  #reviving: Promise<void> | undefined;

  constructor(
    readonly name: string,
    private readonly launch: () => Promise<Running>,
  ) {}

  get isUp(): boolean {
    return this.#running !== undefined;
  }

  get pid(): number {
    if (!this.#running) throw new Error(`${this.name} is down`);
    return this.#running.pid;
  }

  async start(): Promise<void> {
    this.#wanted = true;
    const running = await this.launch();
    this.#running = running;
    void running.exited.then(() => {
      if (this.#running !== running || !this.#wanted) return;
      this.deaths += 1;
      this.#running = undefined;
      this.#reviving = this.#revive();
    });
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    await this.#reviving;
    if (!this.#running) return;
    const { pid, exited } = this.#running;
    process.kill(pid, 'SIGKILL');
    await exited;
    this.#running = undefined;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  freeze(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** SIGTERM, and time to end in order; by force after that. */
  async stop(): Promise<void> {
    this.#wanted = false;
    await this.#reviving;
    if (!this.#running) return;
    const running = this.#running;
    const { pid, exited } = running;
    process.kill(pid, 'SIGCONT');
    const timer = setTimeout(() => process.kill(pid, 'SIGKILL'), STOP_TIMEOUT_MS);
    if (running.stop) await running.stop();
    else process.kill(pid, 'SIGTERM');
    await exited;
    clearTimeout(timer);
    this.#running = undefined;
  }

  async #revive(): Promise<void> {
    while (this.#wanted) {
      await sleep(REVIVE_AFTER_MS);
      if (!this.#wanted) return;
      try {
        await this.start();
        return;
      } catch {
        // It can't start while what it needs is down, either: the next try.
      }
    }
  }
}
