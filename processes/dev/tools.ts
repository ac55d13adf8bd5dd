import { execFile } from 'node:child_process';
import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** What the embedded parts say while they look for or fetch something. */
export type Say = (line: string) => void;

const execute = promisify(execFile);

/** Runs a tool to its end and answers what it printed; throws with its complaint, or when it takes too long. */
export async function runTool(
  command: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<string> {
  const { timeoutMs, signal, ...rest } = options;
  const { stdout } = await execute(command, args, {
    ...rest,
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 4 * 1024 * 1024,
    ...(signal ? { signal } : {}),
  });
  return stdout;
}

interface ToolOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
}

/** Where the shell finds a command, or undefined. */
export async function onPath(command: string): Promise<string | undefined> {
  try {
    const found = await runTool('/bin/sh', ['-c', 'command -v "$0"', command], { timeoutMs: 5000 });
    return found.trim() || undefined;
  } catch {
    return undefined;
  }
}

/** Whether a program runs and prints a version; some shims on PATH stand for programs that are not there. */
export async function versionOf(program: string): Promise<string | undefined> {
  try {
    return (await runTool(program, ['--version'], { timeoutMs: 15_000 })).trim();
  } catch {
    return undefined;
  }
}

export const defaultCacheDir = (): string => join(homedir(), '.cache', 'aymc');

/** The first of these folders that exists or can be made, and can be written to. */
export function firstWritable(folders: readonly string[]): string {
  for (const folder of folders) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o755 });
      accessSync(folder, constants.W_OK | constants.X_OK);
      return folder;
    } catch {
      // Read-only or not ours: the next one.
    }
  }
  throw new Error(`none of these folders can be written to: ${folders.join(', ')}`);
}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Whether `account` can pass through every folder above `path`, and through `path` itself. */
export function canReach(path: string, account: Account): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return false;
  const shift = stat.uid === account.uid ? 6 : stat.gid === account.gid ? 3 : 0;
  if (((stat.mode >> shift) & 1) === 0) return false;
  const parent = dirname(path);
  return parent === path || canReach(parent, account);
}
