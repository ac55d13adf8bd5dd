import type { WorkRequest } from '#proto/gen/agent.js';
import type { ErrorCode } from '#src/domain/errors.js';

export type WorkKind = NonNullable<WorkRequest['work']>['$case'];

export const FAKE_METHODS = [
  'hello',
  'ping',
  'healthCheck',
  'getAgentInfo',
  'getSystemMetrics',
  'inspectServers',
  'submitWork',
  'watchWork',
  'cancelWork',
  'sendCommand',
  'streamEvents',
  'listFolder',
  'downloadFile',
  'uploadFile',
  'deleteFile',
  'makeFolder',
  'renameFile',
  'readFile',
  'writeFile',
  'listFiles',
] as const;
export type FakeMethod = (typeof FAKE_METHODS)[number];

interface WorkLine {
  type: 'work';
  kind: WorkKind;
  /** Of this server only; else of all. */
  serverId: string | undefined;
  /** So many submissions are refused with `code` before one is accepted; nothing of them is recorded. */
  failTimes: number;
  code: ErrorCode;
  /** How long the accepted work takes; Infinity = it never ends by itself. */
  afterMs: number;
  /** The accepted work ends FAILED with this code. */
  endsWith: ErrorCode | undefined;
}

/** `times` counts down; a line of 0 times is spent. */
interface CallLine {
  type: 'refuse' | 'lose-reply' | 'hang';
  method: FakeMethod | undefined;
  times: number;
  code: ErrorCode;
}

export type ScriptLine = WorkLine | CallLine;

export interface WorkOptions {
  serverId?: string;
  failTimes?: number;
  code?: ErrorCode;
  afterMs?: number;
  endsWith?: ErrorCode;
}

export function onWork(kind: WorkKind, options: WorkOptions = {}): ScriptLine {
  const { serverId, failTimes = 0, code = 'agent-failed', afterMs = 0, endsWith } = options;
  return { type: 'work', kind, serverId, failTimes, code, afterMs, endsWith };
}

/** "Fails twice, then boots in three seconds": `onStart({ failTimes: 2, thenReadyAfterMs: 3000 })`. */
export function onStart({
  thenReadyAfterMs = 0,
  ...options
}: Omit<WorkOptions, 'afterMs'> & { thenReadyAfterMs?: number } = {}): ScriptLine {
  return onWork('start', { ...options, afterMs: thenReadyAfterMs });
}

export function onStop(options: WorkOptions = {}): ScriptLine {
  return onWork('stop', options);
}

/** The server boots and never says that it is ready; its start ends by cancel, stop, kill or its own time-out. */
export function neverReady(serverId?: string): ScriptLine {
  return onStart({ thenReadyAfterMs: Infinity, ...(serverId === undefined ? {} : { serverId }) });
}

/** Does what it is asked; the first `times` callers never hear of it. */
export function loseReply(times: number, method: FakeMethod = 'submitWork'): ScriptLine {
  return { type: 'lose-reply', method, times, code: 'agent-unreachable' };
}

export function refuse(code: ErrorCode, options: { times?: number; method?: FakeMethod } = {}): ScriptLine {
  return { type: 'refuse', method: options.method, times: options.times ?? Infinity, code };
}

/** Takes calls and answers nothing, like a stopped process. */
export function hang(method?: FakeMethod): ScriptLine {
  return { type: 'hang', method, times: Infinity, code: 'agent-timeout' };
}

/** What the agent was told to do; the latest matching line counts. */
export class Script {
  #lines: ScriptLine[] = [];

  play(lines: readonly ScriptLine[]): void {
    this.#lines.unshift(...lines.map(line => ({ ...line })));
  }

  clear(type?: ScriptLine['type']): void {
    this.#lines = type === undefined ? [] : this.#lines.filter(line => line.type !== type);
  }

  work(kind: WorkKind, serverId: string): WorkLine {
    for (const line of this.#lines) {
      if (line.type !== 'work' || line.kind !== kind) continue;
      if (line.serverId === undefined || line.serverId === serverId) return line;
    }
    return {
      type: 'work',
      kind,
      serverId,
      failTimes: 0,
      code: 'agent-failed',
      afterMs: 0,
      endsWith: undefined,
    };
  }

  /** Uses up one time of a line that concerns this call, if there is one. */
  takes(type: CallLine['type'], method: FakeMethod): CallLine | undefined {
    for (const line of this.#lines) {
      if (line.type !== type || line.times <= 0) continue;
      if (line.method !== undefined && line.method !== method) continue;
      line.times -= 1;
      return line;
    }
    return undefined;
  }
}
