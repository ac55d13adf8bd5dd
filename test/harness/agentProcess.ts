import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from './waitFor.js';

export interface AgentProcessOptions {
  /** Default: a new temporary folder, removed by `stop`. */
  workDir?: string;
  /** Default: a random one. Null = none. */
  token?: string | null;
  agentId?: string;
  /** 0 (default) = a free one. */
  port?: number;
  /** Where Java is found first. */
  javaHome?: string;
  /** Further variables of the agent's environment. */
  env?: NodeJS.ProcessEnv;
}

export interface AgentProcess {
  /** `127.0.0.1:port`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  readonly workDir: string;
  readonly token: string | null;
  readonly agentId: string;
  /** What it has logged so far, as JSON lines. */
  logs(): string;
  /** Sends a signal; resolves once the process is gone, when the signal is one to die of. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Kills the process (when it still lives) and starts it again with the same settings, address and folder. */
  restart(): Promise<void>;
  /** Ends the agent and every server under it, and removes the temporary folder. */
  stop(): Promise<void>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FATAL = new Set<NodeJS.Signals>(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGABRT']);

/** A real agent in a process of its own, listening on 127.0.0.1. */
export async function startAgentProcess(options: AgentProcessOptions = {}): Promise<AgentProcess> {
  const workDir = options.workDir ?? (await mkdtemp(join(tmpdir(), 'aymc-agent-')));
  const token = options.token === undefined ? randomBytes(16).toString('hex') : options.token;
  const agentId = options.agentId ?? `test-${randomBytes(4).toString('hex')}`;
  const settings = { ...options, workDir, token, agentId };

  let running = await launch(settings, options.port ?? 0);
  const { port } = running;
  return {
    address: `127.0.0.1:${port}`,
    host: '127.0.0.1',
    port,
    workDir,
    token,
    agentId,
    get pid() {
      return running.pid;
    },
    logs: () => running.logs(),
    async kill(signal) {
      running.child.kill(signal);
      if (FATAL.has(signal)) await running.exited;
    },
    async restart() {
      running.child.kill('SIGKILL');
      await running.exited;
      running = await launch(settings, port);
    },
    async stop() {
      running.child.kill('SIGCONT');
      running.child.kill('SIGTERM');
      await running.exited;
      await endServers(workDir);
      if (options.workDir === undefined) await rm(workDir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

interface Running {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  readonly exited: Promise<void>;
  logs(): string;
}

async function launch(
  settings: AgentProcessOptions & { workDir: string; token: string | null; agentId: string },
  port: number,
): Promise<Running> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'agent/main.ts')], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      ...(settings.javaHome === undefined ? {} : { JAVA_HOME: settings.javaHome }),
      ...(settings.token === null ? {} : { AGENT_TOKEN: settings.token }),
      AGENT_ID: settings.agentId,
      AGENT_HOST: '127.0.0.1',
      AGENT_PORT: String(port),
      AGENT_WORK_DIR: settings.workDir,
      // The jars of tests lie on this machine.
      ALLOW_PRIVATE_URLS: '1',
      LOG_LEVEL: 'debug',
      ...settings.env,
    },
  });
  let output = '';
  const collect = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  const exited = new Promise<void>(resolve => child.once('close', () => resolve()));
  const died = exited.then(() => {
    throw new Error(`the agent ended with ${child.exitCode ?? child.signalCode}: ${output}`);
  });
  const listens = waitFor(() => /"address":"127\.0\.0\.1:(\d+)"/.exec(output)?.[1], {
    timeoutMs: 30_000,
    what: 'the agent to listen',
  });
  died.catch(() => undefined); // of no interest once it listens
  let bound: string;
  try {
    bound = await Promise.race([listens, died]);
  } catch (error) {
    child.kill('SIGKILL');
    await exited;
    throw error;
  }
  return { child, pid: child.pid ?? 0, port: Number(bound), exited, logs: () => output };
}

/** Guards outlive their agent by design, so a test ends them itself: whatever was started below its folder, nothing else. */
async function endServers(workDir: string): Promise<void> {
  const below = (path: string): boolean => path === workDir || path.startsWith(`${workDir}/`);
  await waitFor(
    async () => {
      const left = (await Promise.all((await readdir('/proc')).map(pid => isBelow(pid, below)))).filter(
        pid => pid !== undefined,
      );
      for (const pid of left) kill(pid);
      return left.length === 0;
    },
    { what: 'the servers of the test to end' },
  );
}

async function isBelow(name: string, below: (path: string) => boolean): Promise<number | undefined> {
  if (!/^\d+$/.test(name)) return undefined;
  try {
    const cwd = await readlink(`/proc/${name}/cwd`);
    const state = /^State:\t(\w)/m.exec(await readFile(`/proc/${name}/status`, 'utf8'))?.[1];
    return below(cwd.replace(/ \(deleted\)$/, '')) && state !== 'Z' ? Number(name) : undefined;
  } catch {
    return undefined; // ended meanwhile
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ended meanwhile
  }
}
