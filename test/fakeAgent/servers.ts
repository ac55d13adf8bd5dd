import { ProcessState, type CrashCause, type ServerState } from '#proto/gen/agent.js';
import type { EventLog } from './eventLog.js';

export type EffectKind = 'provision' | 'start' | 'stop' | 'kill' | 'delete' | 'command';
/** How often something really happened, per kind and server id. */
export type Effects = Record<EffectKind, Record<string, number>>;

const SIGKILL_EXIT = 137;
const ALIVE = new Set([ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING]);

/** The host's processes: every change is counted, journalled and, where a real server would, printed. */
export class FakeServers {
  readonly states = new Map<string, ServerState>();
  readonly effects: Effects = { provision: {}, start: {}, stop: {}, kill: {}, delete: {}, command: {} };
  #lastPid = 1000;

  constructor(private readonly log: EventLog) {}

  /** The server's record, made at its first mention. */
  of(serverId: string): ServerState {
    let state = this.states.get(serverId);
    if (state === undefined) {
      state = unknownServer(serverId);
      this.states.set(serverId, state);
    }
    return state;
  }

  snapshot(serverId: string): ServerState {
    const state = this.states.get(serverId) ?? unknownServer(serverId);
    return { ...state, consoleOffset: this.log.consoleEnd(serverId) };
  }

  isAlive(serverId: string): boolean {
    return ALIVE.has(this.of(serverId).state);
  }

  provision(serverId: string): void {
    this.#count('provision', serverId);
    this.of(serverId).provisioned = true;
  }

  boot(serverId: string, runId: string): void {
    this.#count('start', serverId);
    this.#lastPid += 1;
    const now = Date.now();
    Object.assign(this.of(serverId), {
      runId,
      pid: this.#lastPid,
      startTicks: this.#lastPid * 100,
      startedAtMs: now,
      readyAtMs: 0,
      exitCode: undefined,
      endedAtMs: 0,
      cause: undefined,
      provisioned: true,
    });
    this.log.beginRun(serverId, runId);
    this.#move(serverId, ProcessState.STARTING, 'start-requested');
    this.log.print(serverId, ['[Server thread/INFO]: Starting minecraft server']);
  }

  becomeReady(serverId: string): void {
    this.of(serverId).readyAtMs = Date.now();
    this.log.print(serverId, ['[Server thread/INFO]: Done (0.1s)! For help, type "help"']);
    this.#move(serverId, ProcessState.RUNNING, 'ready');
  }

  beginStop(serverId: string): void {
    this.#count('stop', serverId);
    this.log.print(serverId, ['[Server thread/INFO]: Stopping the server']);
    this.#move(serverId, ProcessState.STOPPING, 'stop-requested');
  }

  /** The server did not let itself be stopped. */
  surviveStop(serverId: string): void {
    this.#move(serverId, ProcessState.RUNNING, 'stop-failed');
  }

  /** The process ends because we wanted it to. */
  exit(serverId: string, exitCode = 0): void {
    this.#end(serverId, ProcessState.STOPPED, exitCode, 'exit');
  }

  kill(serverId: string): void {
    this.#count('kill', serverId);
    this.#end(serverId, ProcessState.STOPPED, SIGKILL_EXIT, 'killed');
  }

  crash(serverId: string, exitCode: number | undefined, cause?: CrashCause): void {
    this.of(serverId).cause = cause;
    this.#end(serverId, ProcessState.CRASHED, exitCode, 'crash');
  }

  adopt(): void {
    for (const [serverId, state] of this.states) {
      if (this.isAlive(serverId)) this.#move(serverId, state.state, 'adopted');
    }
  }

  delete(serverId: string): void {
    this.#count('delete', serverId);
    this.states.delete(serverId);
    this.log.removeServer(serverId);
  }

  runCommand(serverId: string, command: string): void {
    this.#count('command', serverId);
    const said = /^say (.*)$/.exec(command)?.[1];
    const answer = said === undefined ? 'Unknown or incomplete command' : `[Server] ${said}`;
    this.log.print(serverId, [`[Server thread/INFO]: ${answer}`]);
  }

  #end(serverId: string, state: ProcessState, exitCode: number | undefined, reason: string): void {
    if (!this.isAlive(serverId)) return;
    Object.assign(this.of(serverId), { exitCode, endedAtMs: Date.now(), pid: 0 });
    this.#move(serverId, state, reason);
  }

  #move(serverId: string, to: ProcessState, reason: string): void {
    const server = this.of(serverId);
    const previous = server.state;
    server.state = to;
    this.log.record(serverId, { previous, state: this.snapshot(serverId), reason });
  }

  #count(kind: EffectKind, serverId: string): void {
    this.effects[kind][serverId] = (this.effects[kind][serverId] ?? 0) + 1;
  }
}

function unknownServer(serverId: string): ServerState {
  return {
    serverId,
    state: ProcessState.STOPPED,
    runId: '',
    pid: 0,
    startTicks: 0,
    startedAtMs: 0,
    readyAtMs: 0,
    endedAtMs: 0,
    provisioned: false,
    epoch: 0,
    opSeq: 0,
    consoleOffset: 0,
    cause: undefined,
  };
}
