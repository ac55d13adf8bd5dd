import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withFileLock } from './fileLock.js';
import {
  readDriverEvent,
  type DriverEvent,
  type Position,
  type ServerStatus,
} from './minecraftClientEvents.js';
import { waitFor } from './waitFor.js';

const fixture = fileURLToPath(new URL('../fixtures/minecraft-client/', import.meta.url));
const lock = fileURLToPath(new URL('../../.cache/minecraft-client.lock', import.meta.url));
/** Inside node_modules, which `npm ci` empties first: an installation that was cut short has none. */
const stamp = join(fixture, 'node_modules/.installed-from');
const installTimeoutMs = 10 * 60_000;
const joinTimeoutMs = 30_000;
const pingTimeoutMs = 10_000;
const quitTimeoutMs = 5_000;
const keptChatLines = 1_000;

export interface JoinOptions {
  port: number;
  username: string;
}

/** Puts the client's packages (277 MB) in place when they are missing or not those of the lockfile. Safe to call at any time. */
export async function installMinecraftClient(): Promise<void> {
  const wanted = createHash('sha256')
    .update(await readFile(join(fixture, 'package-lock.json')))
    .digest('hex');
  const isInstalled = async (): Promise<boolean> =>
    (await readFile(stamp, 'utf8').catch(() => '')) === wanted;
  if (await isInstalled()) return;
  await withFileLock(lock, async () => {
    if (await isInstalled()) return;
    // Under `npm test` the outer npm's settings are in the environment; this package has an .npmrc of its own.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
    await promisify(execFile)('npm', ['ci'], { cwd: fixture, env, timeout: installTimeoutMs });
    await writeFile(stamp, wanted);
  });
}

/** Joins the server on 127.0.0.1 as an offline player. Rejects with the server's reason when it does not let the player in. */
export async function joinServer({ port, username }: JoinOptions): Promise<MinecraftClient> {
  const client = new MinecraftClient(await spawnDriver(), username);
  await client.connect(port);
  return client;
}

/** What the server list shows of the server on 127.0.0.1. Costs a process of about half a second. */
export async function pingServer(port: number): Promise<ServerStatus> {
  const driver = await spawnDriver();
  try {
    send(driver, { cmd: 'ping', host: '127.0.0.1', port });
    for await (const line of createInterface({
      input: driver.stdout,
      signal: AbortSignal.timeout(pingTimeoutMs),
    })) {
      const event = readDriverEvent(line);
      if (event.event === 'pong') return event.status;
      if (event.event === 'error') throw new Error(`ping of port ${port}: ${event.message}`);
    }
    throw new Error(`ping of port ${port}: no answer within ${pingTimeoutMs} ms`);
  } finally {
    driver.kill('SIGKILL');
  }
}

/** A player in the game, by a real protocol client in a process of its own. */
export class MinecraftClient {
  /** Why the player is no longer on: the kick's text, the network error, or "quit". Never rejects. */
  readonly ended: Promise<string>;
  /** Chat lines since joining, the newest 1,000. */
  readonly chatLines: string[] = [];
  private position: Position | undefined;
  private reason: string | undefined;
  private over = false;

  constructor(
    private readonly driver: Driver,
    readonly username: string,
  ) {
    createInterface({ input: driver.stdout }).on('line', line => this.onEvent(readDriverEvent(line)));
    this.ended = new Promise(resolve => {
      driver.once('close', code => {
        this.over = true;
        resolve(this.reason ?? `the client's process ended with code ${code}`);
      });
    });
  }

  /** Where the player was put when it joined. */
  get spawn(): Position | undefined {
    return this.position;
  }

  /** For `joinServer`. */
  async connect(port: number): Promise<void> {
    send(this.driver, { cmd: 'connect', host: '127.0.0.1', port, username: this.username });
    try {
      await waitFor(() => this.position ?? this.over, {
        timeoutMs: joinTimeoutMs,
        what: `${this.username} to join`,
      });
    } catch (error) {
      this.driver.kill('SIGKILL');
      throw error;
    }
    if (!this.position) throw new Error(`${this.username} could not join port ${port}: ${await this.ended}`);
  }

  chat(text: string): void {
    send(this.driver, { cmd: 'chat', text });
  }

  /** The first chat line since joining, past or future, that matches. Fails at once when the player is off. */
  async waitForChat(pattern: RegExp, timeoutMs = 10_000): Promise<string> {
    const find = (): string | undefined => this.chatLines.find(line => pattern.test(line));
    await waitFor(() => find() ?? this.over, { timeoutMs, what: `a chat line like ${pattern}` });
    const line = find();
    if (line !== undefined) return line;
    throw new Error(`${this.username} left (${await this.ended}) without a chat line like ${pattern}`);
  }

  /** Tells the server that the player stands there now. Servers don't answer this; what they save shows it. */
  moveTo({ x, y, z }: Position): void {
    send(this.driver, { cmd: 'move', x, y, z });
  }

  /** Leaves the server; when it resolves the process is gone. Harmless when the player is already off. */
  async quit(): Promise<void> {
    send(this.driver, { cmd: 'quit' });
    const overdue = setTimeout(() => this.driver.kill('SIGKILL'), quitTimeoutMs);
    await this.ended;
    clearTimeout(overdue);
  }

  private onEvent(event: DriverEvent): void {
    switch (event.event) {
      case 'joined':
        this.position = event.at;
        return;
      case 'chat':
        this.chatLines.push(event.text);
        if (this.chatLines.length > keptChatLines) this.chatLines.shift();
        return;
      case 'kicked':
        this.reason = event.reason;
        return;
      case 'error':
        this.reason ??= event.message;
        return;
      case 'ended':
        this.reason ??= event.reason;
        this.driver.stdin.end(); // the driver ends with its input
        return;
      case 'pong':
    }
  }
}

type Driver = ChildProcessByStdio<Writable, Readable, null>;

async function spawnDriver(): Promise<Driver> {
  await installMinecraftClient();
  const driver = spawn(process.execPath, ['client.mjs'], {
    cwd: fixture,
    env: { PATH: process.env.PATH },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  driver.stdin.on('error', () => undefined); // a command to a driver that has just ended; `ended` tells the story
  await once(driver, 'spawn');
  return driver;
}

function send(driver: Driver, command: Record<string, string | number>): void {
  driver.stdin.write(`${JSON.stringify(command)}\n`);
}
