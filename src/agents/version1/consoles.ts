import { setTimeout as sleep } from 'node:timers/promises';
import { AgentServiceService, type LogEntry } from '#proto/gen/agent.js';
import type { Calls } from '../calls.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import { saysUnknown } from './looks.js';

/** So long after a ping has been answered a stream that is refused would have been refused. */
const REFUSED_WITHIN_MS = 150;
/** A look at a server is good for so long, where its console is not followed. */
const LOOK_KEPT_MS = 2_000;
const LOOKS_KEPT_MAX = 4096;

type Listener = (line: string, entry: LogEntry) => void;

interface Feed {
  /** Since when it stands. */
  readonly openedMs: number;
}

/**
 * The consoles of agents of version 1. Two readers of one console get a part of its lines each, so there is at most one
 * stream a server in this process, and whoever wants to read along listens here.
 */
export class Consoles {
  /** By agent and server. Entries leave when their stream ends. */
  readonly #feeds = new Map<string, Feed>();
  readonly #listeners = new Map<string, Set<Listener>>();
  /** Oldest first. */
  readonly #looks = new Map<string, { atMs: number; alive: boolean }>();

  constructor(private readonly calls: Calls) {}

  /** Reads along whatever is read, without opening anything. Answers how to stop. */
  listen(agent: AgentAddress, serverId: string, listener: Listener): () => void {
    const key = keyOf(agent, serverId);
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(key);
    };
  }

  isFollowed(agent: AgentAddress, serverId: string): boolean {
    return this.#feeds.has(keyOf(agent, serverId));
  }

  /**
   * Reads the console until the server's process is gone; then it resolves. Rejects as calls do. One that is followed
   * already is not followed twice: resolves at once.
   */
  async follow(agent: AgentAddress, serverId: string, signal: AbortSignal): Promise<void> {
    const key = keyOf(agent, serverId);
    if (this.#feeds.has(key)) return;
    this.#feeds.set(key, { openedMs: performance.now() });
    try {
      for await (const entry of this.#stream(agent, serverId, { signal })) this.#tell(key, entry);
    } catch (error) {
      if (!saysUnknown(error)) throw error;
    } finally {
      this.#feeds.delete(key);
      this.#looks.delete(key);
    }
  }

  /**
   * Whether a server that the agent lists has a process: a crashed one has no console. Where no stream of this process tells,
   * one is opened for a moment; should somebody else follow the console, lines of that moment are lost to them.
   */
  async isAlive(agent: AgentAddress, serverId: string, options: CallOptions): Promise<boolean> {
    const key = keyOf(agent, serverId);
    const feed = this.#feeds.get(key);
    if (feed && performance.now() - feed.openedMs > REFUSED_WITHIN_MS) return true;
    const known = this.#looks.get(key);
    if (known && performance.now() - known.atMs < LOOK_KEPT_MS) return known.alive;
    const alive = feed ? await this.#stands(key) : await this.#probe(agent, serverId, options);
    this.#looks.delete(key);
    this.#looks.set(key, { atMs: performance.now(), alive });
    const [oldest] = this.#looks.keys();
    if (this.#looks.size > LOOKS_KEPT_MAX && oldest !== undefined) this.#looks.delete(oldest);
    return alive;
  }

  /** What was seen of a server is no longer so. */
  forget(agent: AgentAddress, serverId: string): void {
    this.#looks.delete(keyOf(agent, serverId));
  }

  async #stands(key: string): Promise<boolean> {
    await sleep(REFUSED_WITHIN_MS);
    return this.#feeds.has(key);
  }

  async #probe(agent: AgentAddress, serverId: string, options: CallOptions): Promise<boolean> {
    const key = keyOf(agent, serverId);
    const enough = new AbortController();
    const signal = options.signal ? AbortSignal.any([enough.signal, options.signal]) : enough.signal;
    const refused = this.#readUntilRefused(agent, serverId, { ...options, signal }, key);
    const method = AgentServiceService.ping;
    const answered = this.calls
      .unary({ agent, method, request: {}, options })
      .then(() => sleep(REFUSED_WITHIN_MS, false));
    try {
      return !(await Promise.race([refused, answered]));
    } finally {
      enough.abort();
      await Promise.allSettled([refused, answered]);
    }
  }

  /** True when the agent knows no such console. */
  async #readUntilRefused(
    agent: AgentAddress,
    serverId: string,
    options: CallOptions,
    key: string,
  ): Promise<boolean> {
    try {
      for await (const entry of this.#stream(agent, serverId, options)) this.#tell(key, entry);
      return true;
    } catch (error) {
      if (saysUnknown(error)) return true;
      throw error;
    }
  }

  #stream(agent: AgentAddress, serverId: string, options: CallOptions): AsyncIterable<LogEntry> {
    const method = AgentServiceService.streamLogs;
    return this.calls.stream({ agent, method, request: { serverId }, options, endless: true });
  }

  #tell(key: string, entry: LogEntry): void {
    const line = lineOf(entry);
    for (const listener of this.#listeners.get(key) ?? []) listener(line, entry);
  }
}

/** Where a line comes from stands before it. */
export function lineOf({ message }: Pick<LogEntry, 'message'>): string {
  return message.replace(/^\[STD(?:OUT|ERR)\] /, '').replace(/\r?\n$/, '');
}

function keyOf({ id }: AgentAddress, serverId: string): string {
  return `${id}/${serverId}`;
}
