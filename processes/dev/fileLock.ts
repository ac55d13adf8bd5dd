import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

export interface FileLock {
  /** Idempotent. */
  release(): void;
}

/** What takes a lock on the file it inherits as descriptor 3; exit 0 = taken, 1 = someone else has it. */
const TAKERS: readonly (readonly [command: string, args: readonly string[]])[] = [
  ['flock', ['--exclusive', '--nonblock', '3']],
  [
    'perl',
    [
      '-e',
      'use Fcntl ":flock"; open(my $f, "+<&=", 3) or exit 2; exit(flock($f, LOCK_EX | LOCK_NB) ? 0 : 1)',
    ],
  ],
];

/**
 * Takes the kernel's lock on `path`, or answers undefined when another process has it. The lock belongs to the open
 * file that we share with the helper, so it outlives the helper and ends with this process, however that ends: there
 * is no stale lock to judge. Node has no flock(2), hence the helper.
 */
export async function lockFile(path: string): Promise<FileLock | undefined> {
  const fd = openSync(path, 'a+', 0o600);
  for (const [command, args] of TAKERS) {
    const code = await exitCodeOf(command, args, fd);
    if (code === 0) return { release: once(() => closeSync(fd)) };
    if (code === 1) {
      closeSync(fd);
      return undefined;
    }
  }
  closeSync(fd);
  throw new Error(`can't lock ${path}: neither flock (util-linux) nor perl could be run`);
}

/** A descriptor closed twice might by then be someone else's file. */
function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

function exitCodeOf(command: string, args: readonly string[], fd: number): Promise<number | undefined> {
  return new Promise(resolve => {
    const helper = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore', fd], timeout: 10_000 });
    helper.once('error', () => resolve(undefined));
    helper.once('exit', code => resolve(code ?? undefined));
  });
}
