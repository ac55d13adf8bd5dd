import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from '#processes/dev/ports.js';
import { waitFor } from './waitFor.js';

export interface TestRedis {
  url: string;
  /** kill −9: every connection breaks, everything in it is gone. */
  kill(): Promise<void>;
  /** On the same port again. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open, and nobody answers. */
  freeze(frozen: boolean): void;
  stop(): Promise<void>;
}

/** Null where none is installed: tests that need one are pending then. */
export function findRedisServer(): string | null {
  try {
    return execFileSync('sh', ['-c', 'command -v redis-server'], { encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}

/** A real Redis of the test's own, without persistence. */
export async function startRedis(binary: string): Promise<TestRedis> {
  const dir = await mkdtemp(join(tmpdir(), 'aymc-test-redis-'));
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess;

  async function start(): Promise<void> {
    const args = [
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      dir,
    ];
    child = spawn(binary, args, { stdio: 'ignore' });
    await waitFor(() => ping(url), { what: 'redis-server to answer' });
  }

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  await start();
  return {
    url,
    kill,
    restart: start,
    freeze: frozen => void child.kill(frozen ? 'SIGSTOP' : 'SIGCONT'),
    async stop() {
      await kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function ping(url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: null });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
}
