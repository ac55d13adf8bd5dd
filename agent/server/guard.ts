import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServerPaths } from './paths.js';
import type { Run } from './run.js';

const SCRIPT = fileURLToPath(new URL('../guard.sh', import.meta.url));

/**
 * How the guard ends a server whose lease is over. With the second that each stage may be late, the last one begins at most
 * 34 s after the lease's end: below the control plane's LEASE_STOP_BUDGET, which production keeps at 35 s or more.
 */
const LEASE_STOP_SECONDS = 20;
const LEASE_TERM_SECONDS = 10;

/** How a guard ends before it has started anything (guard.sh). */
export const GUARD_EXIT_LOCKED = 73;
export const GUARD_EXIT_NO_LEASE = 76;

/** What the guard needs from the host, beside the shell. */
export const GUARD_TOOLS = ['flock', 'setsid', 'setpriv', 'mkfifo', 'timeout', 'sleep', 'mv'] as const;

export interface GuardSpec {
  readonly paths: ServerPaths;
  readonly run: Run;
  /** The JVM and its arguments; no shell ever reads them. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Guard {
  /** SIGKILL; false when it has ended. */
  kill(): boolean;
  /** Its own exit code: 0 after the JVM's end, else why it started none. Never settles for a guard that outlives us. */
  readonly ended: Promise<number>;
}

/**
 * Starts the guard of a new run, in a session of its own and with its output in a file, so that nothing ties it to us.
 * Resolves when the guard runs, which is before its JVM does: `run.readProcess()` tells when.
 */
export async function startGuard(spec: GuardSpec, shell: string): Promise<Guard> {
  const { paths, run, command } = spec;
  const log = await open(run.guardLogPath, 'a', 0o600);
  try {
    const child = spawn(
      shell,
      [SCRIPT, paths.state, run.folder, String(LEASE_STOP_SECONDS), String(LEASE_TERM_SECONDS), ...command],
      { cwd: paths.folder, env: spec.env, detached: true, stdio: ['ignore', log.fd, log.fd] },
    );
    const ended = new Promise<number>(resolve => {
      child.once('exit', code => resolve(code ?? 137));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('spawn', resolve);
    });
    child.unref();
    return { kill: () => child.kill('SIGKILL'), ended };
  } finally {
    await log.close();
  }
}

/** Dash where there is one: a third of bash's memory, once per running server. */
export function findShell(path: string): string {
  return findTool('dash', path) ?? '/bin/sh';
}

export function findTool(name: string, path: string): string | undefined {
  for (const folder of path.split(delimiter)) {
    const candidate = join(folder, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      continue;
    }
  }
  return undefined;
}
