import type { Logger } from '#src/observability/logger.js';
import type { Message } from '#src/contracts/events.js';
import { AppError } from '#src/domain/errors.js';
import { decodeCursor } from '#src/contracts/cursor.js';
import type { Entry, EventChannel, EventSource } from './eventSources.js';
import type { Feed } from './feed.js';
import type { Limiter } from './limiter.js';
import type { Outlet, Subscription } from './outlet.js';
import { createPump, type Pump } from './pump.js';

const PAGE = 200;

interface RelayDeps {
  channel: EventChannel;
  source: EventSource;
  /** Bounds how many reads all relays do at once, so that they leave connections to everyone else. */
  limit: Limiter;
  logger: Logger;
}

/**
 * Carries one channel's events from Postgres to everyone who watches it: one read for all of them. `position` is how
 * far it has offered; a member knows how far it has itself sent. Nothing is kept in memory for a member that is behind
 * (it has just subscribed, its client is slow, its backlog long): it reads on by itself, and joins the live ones at the
 * moment when it has caught up. That is why there is neither a gap nor a repeat, and nothing to overflow.
 */
export class EventRelay implements Feed {
  readonly channel: EventChannel;
  readonly #source: EventSource;
  readonly #limit: Limiter;
  readonly #onFailure: (error: unknown) => void;
  // Each member leaves by its close.
  readonly #members = new Set<Member>();
  readonly #pump: Pump;
  #ready: Promise<void> | null = null;
  #position = 0;
  #announced = 0;

  constructor({ channel, source, limit, logger }: RelayDeps) {
    this.channel = channel;
    this.#source = source;
    this.#limit = limit;
    this.#onFailure = error => logger.warn({ err: error, channel }, 'events cannot be read; trying again');
    this.#pump = createPump(() => this.#advance(), this.#onFailure);
  }

  get idle(): boolean {
    return this.#members.size === 0;
  }

  get position(): number {
    return this.#position;
  }

  /** Joins first and reads then, so that what is appended meanwhile reaches the member one way or the other. */
  async subscribe(outlet: Outlet, after: string | null, limit: number): Promise<Subscription> {
    const member = new Member(this, outlet, this.#onFailure);
    this.#members.add(member);
    try {
      await (this.#ready ??= this.#begin());
      if (after === null) member.begin(await this.#limit(() => this.#source.snapshot(limit)));
      else member.begin(await this.#resume(decodeCursor(after), limit));
      return member;
    } catch (error) {
      member.close();
      throw error;
    }
  }

  /** Something may have been appended; `head` is how far, where the caller knows it. */
  poke(head = 0): void {
    this.#announced = Math.max(this.#announced, head);
    this.#pump.poke();
  }

  read(after: number): Promise<Entry[]> {
    return this.#limit(() => this.#source.read(after, PAGE));
  }

  leave(member: Member): void {
    this.#members.delete(member);
  }

  async close(): Promise<void> {
    for (const member of this.#members) member.close();
    await this.#pump.stop();
  }

  async #begin(): Promise<void> {
    this.#position = await this.#limit(() => this.#source.head());
    // A poke may have come while the head was read, and been for an event after it.
    this.#pump.poke();
  }

  async #resume(seq: number, limit: number): Promise<{ entries: Entry[]; position: number }> {
    // A place beyond the end would silently swallow everything up to it.
    if (seq > this.#position && seq > (await this.#limit(() => this.#source.head()))) {
      throw new AppError('invalid-request', { detail: 'The cursor is ahead of its channel' });
    }
    const offered = this.#position;
    const entries = await this.#limit(() => this.#source.read(seq, limit));
    const last = entries.at(-1)?.seq ?? seq;
    return { entries, position: entries.length < limit ? Math.max(last, offered) : last };
  }

  async #advance(): Promise<void> {
    if (this.#ready === null) return;
    await this.#ready;
    let entries: Entry[];
    do {
      const announced = this.#announced;
      entries = await this.read(this.#position);
      this.#position = entries.at(-1)?.seq ?? this.#position;
      if (entries.length < PAGE) this.#position = Math.max(this.#position, announced);
      for (const member of this.#members) member.offer(entries);
    } while (entries.length === PAGE && this.#members.size > 0);
  }
}

/** One client's place in a channel. */
class Member implements Subscription {
  readonly importance: Subscription['importance'];
  readonly #relay: EventRelay;
  readonly #outlet: Outlet;
  readonly #catchUp: Pump;
  #state: 'opening' | 'live' | 'behind' | 'closed' = 'opening';
  /** Everything up to here was sent, or is in the backlog. */
  #position = 0;
  #backlog: Message[] = [];

  constructor(relay: EventRelay, outlet: Outlet, onFailure: (error: unknown) => void) {
    const { channel } = relay;
    const isLive = channel.kind === 'server' && (channel.topic === 'logs' || channel.topic === 'metrics');
    this.importance = isLive ? 'live' : 'events';
    this.#relay = relay;
    this.#outlet = outlet;
    this.#catchUp = createPump(() => this.#readOn(), onFailure);
  }

  get backlog(): readonly Message[] {
    return this.#backlog;
  }

  begin({ entries, position }: { entries: Entry[]; position: number }): void {
    this.#backlog = entries.map(entry => entry.message);
    this.#position = position;
  }

  start(): void {
    this.#backlog = [];
    if (this.#state === 'opening') this.#fallBehind();
  }

  offer(entries: readonly Entry[]): void {
    if (this.#state === 'live' && !this.#sendAll(entries)) this.#state = 'behind';
  }

  resume(): void {
    if (this.#state === 'behind') this.#catchUp.poke();
  }

  close(): void {
    this.#state = 'closed';
    this.#backlog = [];
    this.#outlet.forget(this);
    this.#relay.leave(this);
    void this.#catchUp.stop();
  }

  #fallBehind(): void {
    this.#state = 'behind';
    if (this.#position >= this.#relay.position) this.#state = 'live';
    else this.#catchUp.poke();
  }

  async #readOn(): Promise<void> {
    while (this.#state === 'behind' && this.#outlet.hasRoom(this)) {
      const offered = this.#relay.position;
      const entries = await this.#relay.read(this.#position);
      if (this.#state !== 'behind' || !this.#sendAll(entries)) return;
      // What was offered before the read and is not in it was not for this channel.
      if (entries.length < PAGE) this.#position = Math.max(this.#position, offered);
      // No await between this look and the next offer: it is live from exactly here on.
      if (this.#position >= this.#relay.position) this.#state = 'live';
    }
  }

  /** False when the client had no room for all of them. */
  #sendAll(entries: readonly Entry[]): boolean {
    for (const { seq, message } of entries) {
      if (seq <= this.#position) continue;
      if (!this.#outlet.send(message, this)) return false;
      this.#position = seq;
    }
    return true;
  }
}
