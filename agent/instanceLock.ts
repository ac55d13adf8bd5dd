import { spawn } from 'node:child_process';
import { open, type FileHandle } from 'node:fs/promises';

/**
 * Makes this the only agent process of a work dir, for as long as it lives: the kernel lets go of the lock with the
 * process, however that ends. Node can't flock, but the lock belongs to the open file: flock(1) takes it on the
 * descriptor that it is given, and ours keeps it. Undefined when another agent has it.
 */
export async function lockWorkDir(lockPath: string): Promise<FileHandle | undefined> {
  const file = await open(lockPath, 'a', 0o600);
  const code = await new Promise<number | null>((resolve, reject) => {
    const flock = spawn('flock', ['--nonblock', '3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] });
    flock.once('error', reject);
    flock.once('exit', resolve);
  });
  if (code === 0) return file;
  await file.close();
  return undefined;
}
