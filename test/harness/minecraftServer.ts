import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { waitFor } from './waitFor.js';

/** A server of about 140 MB that starts in about 3 s; without the last flag an OutOfMemoryError leaves it half started. */
export const cheapJvmFlags: readonly string[] = [
  '-Xms64M',
  '-Xmx256M',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-XX:+ExitOnOutOfMemoryError',
];

export interface MinecraftServerOptions {
  jar: string;
  javaBin: string;
  /** The server's folder; exists, and is removed by whoever made it. */
  dir: string;
  port: number;
  /** Default true. */
  eula?: boolean;
  /** Further lines of server.properties. */
  properties?: Record<string, string | number>;
  /** Added to a clean environment: AYMC_SERVER_ID, AYMC_ORACLE … */
  env?: Record<string, string>;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const keptLines = 20_000;

/**
 * A Minecraft server run without agent or guard, as a person would in a terminal: for proofs of the server itself, and as the
 * bare boot that a start through the product is compared with. The kernel ends it if the test process dies.
 */
export async function startMinecraftServer(options: MinecraftServerOptions): Promise<MinecraftServerProcess> {
  const { jar, javaBin, dir, port, eula = true, properties = {}, env = {} } = options;
  const lines = Object.entries({ 'server-port': port, 'server-ip': '127.0.0.1', ...properties });
  await writeFile(join(dir, 'server.properties'), lines.map(([key, value]) => `${key}=${value}\n`).join(''));
  if (eula) await writeFile(join(dir, 'eula.txt'), 'eula=true\n');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', javaBin, ...cheapJvmFlags, '-jar', jar, 'nogui'], {
    cwd: dir,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await once(child, 'spawn');
  return new MinecraftServerProcess(child);
}

export class MinecraftServerProcess {
  /** Console output of both streams, the newest 20,000 lines. */
  readonly lines: string[] = [];
  readonly exited: Promise<Exit>;
  private exit: Exit | undefined;

  constructor(private readonly child: ChildProcessByStdio<Writable, Readable, Readable>) {
    const keep = (line: string): void => {
      this.lines.push(line);
      if (this.lines.length > keptLines) this.lines.shift();
    };
    createInterface({ input: child.stdout }).on('line', keep);
    createInterface({ input: child.stderr }).on('line', keep);
    child.stdin.on('error', () => undefined); // a command to a server that has just ended; its exit tells the story
    this.exited = new Promise(resolve => {
      child.once('close', (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** Types one line on the console. */
  command(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }

  /** The first line, past or future, that matches. Fails at once when the server ends without it. */
  async waitForLine(pattern: RegExp, timeoutMs = 30_000): Promise<string> {
    const find = (): string | undefined => this.lines.find(line => pattern.test(line));
    await waitFor(() => find() ?? this.exit, { timeoutMs, what: `a console line like ${pattern}` });
    const line = find();
    if (line !== undefined) return line;
    throw new Error(
      `the server ended (${JSON.stringify(this.exit)}) without ${pattern}:\n${this.lines.slice(-20).join('\n')}`,
    );
  }

  waitUntilReady(): Promise<string> {
    return this.waitForLine(
      /^\[[\d:]{8}\] \[Server thread\/INFO\]: Done \([\d.]+s\)! For help, type "help"$/,
    );
  }

  /** Sends a signal; use with `exited`. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.child.kill(signal);
  }
}
