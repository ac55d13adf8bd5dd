import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AgentServiceService,
  ProcessState,
  type AgentEvent,
  type EventBatch,
  type ServerInfo,
  type ServerState,
  type StreamEventsRequest,
} from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import { runIdOf, saysReady } from './looks.js';
import { stoppedServer } from './states.js';
import { isLost, type StepDeps } from './step.js';

const LOOK_MS = 2_000;
const LOOK_DEADLINE_MS = 10_000;
const SAMPLE_MS = 15_000;
const EVENTS_PER_BATCH = 256;
/** What waits for a slow reader; beyond it the oldest lines are lost, since the agent does not keep them. */
const HELD_BYTES_MAX = 4 * 1024 * 1024;

/** A server's run whose console is read, and how far. */
interface Reading {
  run: ServerInfo;
  offset: number;
}

/**
 * What other agents tell by StreamEvents, made of what can be read of one of version 1: one console stream a server, a look
 * at its list every two seconds, the host's metrics. Positions are as good as can be: a console is counted from where the
 * caller has it, lines that nobody read are not there any more, and every stream has a journal of its own.
 */
export async function* eventsOf(
  deps: StepDeps,
  agent: AgentAddress,
  request: StreamEventsRequest,
  options: CallOptions,
): AsyncGenerator<EventBatch, void> {
  const ending = new AbortController();
  const limit = options.deadlineMs === undefined ? [] : [AbortSignal.timeout(options.deadlineMs)];
  const given = options.signal ? [options.signal] : [];
  const signal = AbortSignal.any([ending.signal, ...limit, ...given]);
  const watcher = new AgentWatcher(deps, agent, request, signal);
  const watching = watcher.run().catch((error: unknown) => watcher.fail(error));
  try {
    for (;;) {
      const batch = await watcher.next();
      if (given.some(({ aborted }) => aborted)) throw new AppError('cancelled');
      if (signal.aborted) throw new AppError('agent-timeout');
      yield batch;
    }
  } finally {
    ending.abort();
    await watching;
  }
}

class AgentWatcher {
  readonly #journalId = randomUUID();
  readonly #states = new Map<string, ServerState>();
  /** By server. Entries leave when their console ends. */
  readonly #readings = new Map<string, Reading>();
  readonly #following = new Set<Promise<void>>();
  #events: AgentEvent[] = [];
  #heldBytes = 0;
  #seq = 0;
  #sampleSeq = 0;
  #sampledMs = -Infinity;
  #greeted = false;
  #failure: { cause: unknown } | undefined;
  #wake: () => void = () => undefined;
  #lookAgain: () => void = () => undefined;

  constructor(
    private readonly deps: StepDeps,
    private readonly agent: AgentAddress,
    private readonly request: StreamEventsRequest,
    private readonly signal: AbortSignal,
  ) {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
  }

  fail(cause: unknown): void {
    this.#failure ??= { cause };
    this.#wake();
  }

  /** The events that wait; the first batch comes at once, whether there are any or not. */
  async next(): Promise<EventBatch> {
    while (this.#greeted && this.#events.length === 0 && !this.#failure && !this.signal.aborted) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    if (this.#failure && !this.signal.aborted) throw this.#failure.cause;
    this.#greeted = true;
    const events = this.#events.splice(0, EVENTS_PER_BATCH);
    for (const event of events) this.#heldBytes -= bytesOf(event);
    return {
      journalId: this.#journalId,
      events,
      sentAtMs: Date.now(),
      incarnation: this.#journalId,
      utcOffsetMinutes: 0,
    };
  }

  /** Looks until the signal; rejects when the agent can't be reached. */
  async run(): Promise<void> {
    try {
      while (!this.signal.aborted) {
        await this.#look();
        await this.#sample();
        await this.#pause();
      }
    } catch (error) {
      if (!this.signal.aborted) throw error;
    } finally {
      await Promise.allSettled(this.#following);
    }
  }

  async #pause(): Promise<void> {
    const again = new AbortController();
    this.#lookAgain = () => again.abort();
    const until = AbortSignal.any([this.signal, again.signal]);
    await sleep(LOOK_MS, undefined, { signal: until }).catch(() => undefined);
  }

  async #look(): Promise<void> {
    // An agent that stops a server answers nothing: what is known of it holds until it has.
    if (this.deps.turns.isBlocked(this.agent.id)) return;
    const options = { deadlineMs: LOOK_DEADLINE_MS, signal: this.signal };
    let listed: ServerInfo[];
    try {
      listed = await this.deps.looks.listed(this.agent, options);
    } catch (error) {
      if (isLost(error) && this.deps.turns.isBlocked(this.agent.id)) return;
      throw error;
    }
    for (const run of listed) this.#follow(run);
    for (const run of listed) this.#compare(await this.deps.states.of(this.agent, run, options));
    const present = new Set(listed.map(({ id }) => id));
    for (const serverId of this.#states.keys())
      if (!present.has(serverId)) this.#compare(stoppedServer(serverId));
  }

  #follow(run: ServerInfo): void {
    const { agent, deps } = this;
    if (this.#readings.get(run.id)?.run.startTime === run.startTime) return;
    const before = this.#states.get(run.id);
    const isSame = before?.runId === runIdOf(run);
    // Its console has ended before, and is not opened again and again.
    if (isSame && !isUp(before)) return;
    const known = this.request.console[run.id];
    const reading = { run, offset: known?.runId === runIdOf(run) ? known.offset : 0 };
    this.#readings.set(run.id, reading);
    const unlisten = deps.consoles.listen(agent, run.id, line => this.#print(reading, line));
    const followed = deps.consoles
      .follow(agent, run.id, this.signal)
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        unlisten();
        this.#following.delete(followed);
        if (this.#readings.get(run.id) === reading) this.#readings.delete(run.id);
        this.#lookAgain();
      });
    this.#following.add(followed);
  }

  #print(reading: Reading, line: string): void {
    const { run } = reading;
    if (saysReady(line)) {
      this.deps.states.noteReady(this.agent, run);
      this.#lookAgain();
    }
    const offset = reading.offset;
    const nextOffset = offset + Buffer.byteLength(line) + 1;
    reading.offset = nextOffset;
    const console = { runId: runIdOf(run), offset, nextOffset, lines: [line], droppedBytes: 0 };
    this.#push({ serverId: run.id, atMs: Date.now(), event: { $case: 'console', console } });
  }

  #compare(state: ServerState): void {
    const before = this.#states.get(state.serverId);
    const previous = before?.state ?? ProcessState.STOPPED;
    if (isUp(state)) this.#states.set(state.serverId, state);
    else if (state.state === ProcessState.STOPPED && state.runId === '') this.#states.delete(state.serverId);
    else this.#states.set(state.serverId, state);
    if (before && previous === state.state && before.runId === state.runId) return;
    this.#seq += 1;
    const change = { seq: this.#seq, previous, state, reason: 'seen' };
    this.#push({ serverId: state.serverId, atMs: Date.now(), event: { $case: 'state', state: change } });
  }

  async #sample(): Promise<void> {
    if (performance.now() - this.#sampledMs < SAMPLE_MS || this.deps.turns.isBlocked(this.agent.id)) return;
    const { agent, signal } = this;
    const method = AgentServiceService.getSystemMetrics;
    const options = { deadlineMs: LOOK_DEADLINE_MS, signal };
    const metrics = await this.deps.calls
      .unary({ agent, method, request: {}, options })
      .catch((error: unknown) => {
        if (isLost(error) && this.deps.turns.isBlocked(agent.id)) return undefined;
        throw error;
      });
    if (!metrics) return;
    this.#sampledMs = performance.now();
    this.#sampleSeq += 1;
    const host = {
      cpuPercent: metrics.cpuPercent,
      memoryTotalBytes: metrics.memoryTotal,
      memoryUsedBytes: metrics.memoryUsed,
      diskTotalBytes: metrics.diskTotal,
      diskUsedBytes: metrics.diskUsed,
      networkSentBytes: metrics.networkSent,
      networkReceivedBytes: metrics.networkRecv,
    };
    const sample = { seq: this.#sampleSeq, host, servers: [] };
    this.#push({ serverId: '', atMs: Date.now(), event: { $case: 'sample', sample } });
  }

  #push(event: AgentEvent): void {
    this.#events.push(event);
    this.#heldBytes += bytesOf(event);
    while (this.#heldBytes > HELD_BYTES_MAX) this.#dropOldest();
    this.#wake();
  }

  /** The next chunk of that console says how much is missing before it. */
  #dropOldest(): void {
    const at = this.#events.findIndex(({ event }) => event?.$case === 'console');
    const [dropped] = this.#events.splice(at, 1);
    if (dropped?.event?.$case !== 'console') return;
    this.#heldBytes -= bytesOf(dropped);
    const { runId, offset, nextOffset, droppedBytes } = dropped.event.console;
    const bytes = droppedBytes + nextOffset - offset;
    for (const { serverId, event } of this.#events) {
      if (event?.$case !== 'console' || serverId !== dropped.serverId || event.console.runId !== runId)
        continue;
      event.console.droppedBytes += bytes;
      return;
    }
  }
}

function isUp({ state }: ServerState): boolean {
  return state !== ProcessState.STOPPED && state !== ProcessState.CRASHED;
}

function bytesOf({ event }: AgentEvent): number {
  return event?.$case === 'console' ? event.console.nextOffset - event.console.offset : 0;
}
