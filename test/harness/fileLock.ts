import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

const patienceSeconds = 600;

/**
 * Runs `work` while holding an exclusive lock on `file`, against other processes of this machine. A kernel lock, held by a child
 * that lives as long as our pipe to it: whatever kills us also releases it, so no lock is ever left behind.
 */
export async function withFileLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  const holder = spawn('flock', ['-w', `${patienceSeconds}`, file, 'sh', '-c', 'echo held && exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const released = once(holder, 'close');
  released.catch(() => undefined); // a flock that can't be run is told by the race below
  const held = await Promise.race([once(holder.stdout, 'data').then(() => true), released.then(() => false)]);
  if (!held) throw new Error(`no lock on ${file} within ${patienceSeconds} s`);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await released;
  }
}
