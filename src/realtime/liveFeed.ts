import type { Message } from '#src/contracts/events.js';
import type { Feed } from './feed.js';
import type { Outlet, Subscription } from './outlet.js';

/** What one slow subscriber may be behind before it loses the oldest. The messages themselves are shared by all. */
const MAX_QUEUED = 1_000;

export type ReadBacklog = (after: string | null, limit: number) => Promise<Message[]>;

/**
 * A channel whose messages come by and are gone: console lines, agents' states. What a slow client misses is said in
 * its place, with the cursor from which it can be read again.
 */
export class LiveFeed implements Feed {
  readonly #channel: string;
  readonly #readBacklog: ReadBacklog;
  // Each member leaves by its close.
  readonly #members = new Set<Member>();

  constructor(channel: string, readBacklog: ReadBacklog) {
    this.#channel = channel;
    this.#readBacklog = readBacklog;
  }

  get idle(): boolean {
    return this.#members.size === 0;
  }

  publish(messages: readonly Message[]): void {
    for (const message of messages) {
      for (const member of this.#members) member.deliver(message);
    }
  }

  async subscribe(outlet: Outlet, after: string | null, limit: number): Promise<Subscription> {
    const member = new Member(this.#channel, outlet, after, closed => this.#members.delete(closed));
    this.#members.add(member);
    try {
      member.backlog = await this.#readBacklog(after, limit);
      return member;
    } catch (error) {
      member.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const member of this.#members) member.close();
  }
}

class Member implements Subscription {
  readonly importance = 'live';
  backlog: readonly Message[] = [];
  readonly #channel: string;
  readonly #outlet: Outlet;
  readonly #leave: (member: Member) => void;
  #open = false;
  #lastCursor: string | null;
  // Came while the backlog was read, or while the client had no room.
  #queue: Message[] = [];
  #dropped = 0;

  constructor(channel: string, outlet: Outlet, after: string | null, leave: (member: Member) => void) {
    this.#channel = channel;
    this.#outlet = outlet;
    this.#lastCursor = after;
    this.#leave = leave;
  }

  deliver(message: Message): void {
    if (this.#open && this.#queue.length === 0 && this.#send(message)) return;
    this.#queue.push(message);
    if (this.#queue.length <= MAX_QUEUED) return;
    this.#queue.shift();
    this.#dropped++;
  }

  /** What is in the backlog already was also seen live while the backlog was read. */
  start(): void {
    const known = new Set(this.backlog.map(message => message.cursor));
    known.delete(null);
    this.#queue = this.#queue.filter(message => !known.has(message.cursor));
    this.#lastCursor = this.backlog.at(-1)?.cursor ?? this.#lastCursor;
    this.backlog = [];
    this.#open = true;
    this.resume();
  }

  resume(): void {
    if (this.#dropped > 0 && this.#sendMark()) this.#dropped = 0;
    while (this.#dropped === 0) {
      const [next] = this.#queue;
      if (!next || !this.#send(next)) return;
      this.#queue.shift();
    }
  }

  close(): void {
    this.#queue = [];
    this.#open = false;
    this.#outlet.forget(this);
    this.#leave(this);
  }

  #send(message: Message): boolean {
    if (!this.#outlet.send(message, this)) return false;
    this.#lastCursor = message.cursor;
    return true;
  }

  /** Stands where the lost ones would have been. Its cursor is the last one before them. */
  #sendMark(): boolean {
    const data = { code: 'dropped', dropped: this.#dropped };
    const timestamp = new Date().toISOString();
    return this.#outlet.send(
      { type: 'error', channel: this.#channel, data, timestamp, cursor: this.#lastCursor },
      this,
    );
  }
}
