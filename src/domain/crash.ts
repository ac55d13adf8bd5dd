import type { ErrorCode } from './errors.js';

/** What ended a server by itself. Agents name one of these; a name that we don't know counts as `exit-code`. */
export const CRASH_CODES = [
  'out-of-memory',
  'killed',
  'jvm-crash',
  'watchdog',
  'crash-report',
  'signal',
  'exit-code',
  'unseen',
] as const;
export type CrashCode = (typeof CRASH_CODES)[number];

export function isCrashCode(code: string): code is CrashCode {
  return (CRASH_CODES as readonly string[]).includes(code);
}

const SIGKILL_EXIT = 137;

/** For an agent that tells only how the process ended; null = nobody saw it end. */
export function crashCodeOf(exitCode: number | null): CrashCode {
  if (exitCode === null) return 'unseen';
  if (exitCode === SIGKILL_EXIT) return 'killed';
  return exitCode > 128 ? 'signal' : 'exit-code';
}

/** How long a server stays down before the first, second, … automatic start of a window. */
const RESTART_DELAYS_S = [0, 10, 30, 60, 120];

/** So many crashes of a window are followed by a start; after one more the server stays down and says so. */
export const CRASH_BUDGET = RESTART_DELAYS_S.length;

/** Begins with its first crash. Wide enough for a server that takes minutes to boot and to crash. */
export const CRASH_WINDOW_MS = 30 * 60_000;

/** The columns that outlive every process. */
export interface CrashCount {
  crash_count: number;
  crash_window_started_at: Date | null;
}

export interface RestartPlan extends CrashCount {
  /** Null: it stays down. */
  restart_after: Date | null;
  /** Whether it stays down for having crashed too often. */
  isLoop: boolean;
}

/** Counts one more crash and says what follows. `mayRestart`: its owner and its installation allow it. */
export function planRestart(server: CrashCount, mayRestart: boolean, now: Date): RestartPlan {
  const { crash_window_started_at: began } = server;
  const counts = began !== null && now.getTime() - began.getTime() < CRASH_WINDOW_MS;
  const crash_count = counts ? server.crash_count + 1 : 1;
  const delayS = RESTART_DELAYS_S[crash_count - 1];
  const restarts = mayRestart && delayS !== undefined;
  return {
    crash_count,
    crash_window_started_at: counts ? began : now,
    restart_after: restarts ? new Date(now.getTime() + delayS * 1000) : null,
    isLoop: mayRestart && delayS === undefined,
  };
}

/** The settings that decide whether a server comes back. */
export interface RestartSettings {
  auto_start: boolean;
  auto_restart: boolean;
  installed: boolean;
  accept_eula: boolean;
}

/** What took a server down unseen took its host, its container or its guard with it: that is a boot as much as a crash. */
export function restartsAfter(server: RestartSettings, code: CrashCode): boolean {
  if (!server.installed || !server.accept_eula) return false;
  return server.auto_restart || (code === 'unseen' && server.auto_start);
}

/** Ends of an automatic start that say nothing about the server: it is tried again without being counted. */
const NOT_ITS_FAULT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'agent-unreachable',
  'agent-timeout',
  'no-lease',
  'lost-workflow',
  'shutting-down',
  'database-unavailable',
  'temporal-unavailable',
]);

/** How soon, then. */
export const RETRY_START_AFTER_S = 30;

export function isServersFault(code: ErrorCode): boolean {
  return !NOT_ITS_FAULT.has(code);
}
