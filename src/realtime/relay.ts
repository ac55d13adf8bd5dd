import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '#src/observability/logger.js';
import type { Message } from '#src/contracts/events.js';
import { AppError } from '#src/domain/errors.js';
import { decodeCursor } from '#src/contracts/cursor.js';
import type { Entry, EventChannel, EventSource } from './eventSources.js';
import type { Feed } from './feed.js';
import type { Limiter } from './limiter.js';
import { WAITING_LIMITS, type Outlet, type Subscription } from './outlet.js';
import { createPump, type Pump } from './pump.js';

const PAGE = 200;
/** In a channel that may leave things out: no more than a client that keeps up has room for. */
const LIVE_PAGE = WAITING_LIMITS.live;
/** …and not the next full page before this, so that a flood costs each process so much and no more: 4,000 lines a second. */
const LIVE_PAUSE_MS = 16;
const LATE_MS = 1_000;

interface RelayDeps {
  channel: EventChannel;
  source: EventSource;
  /** Bounds how many reads all relays do at once, so that they leave connections to everyone else. */
  limit: Limiter;
  logger: Logger;
  /** Who has not caught up for so long is shown the present instead; by default a second. */
  lateMs?: number;
}

/**
 * Carries one channel's events from Postgres to everyone who watches it: one read for all of them. `position` is how
 * far it has offered; a member knows how far it has itself sent. Nothing is kept in memory for a member that is behind
 * (it has just subscribed, its client is slow, its backlog long): it reads on by itself, and joins the live ones at the
 * moment when it has caught up. That is why there is neither a gap nor a repeat, and nothing to overflow.
 *
 * Consoles may print faster than anybody reads. Where the source can skip, whoever stays behind for long goes on near
 * the end, with a mark in place of what was left out: a member by itself, or the relay for all that are live.
 */
export class EventRelay implements Feed {
  readonly channel: EventChannel;
  readonly lateMs: number;
  readonly #source: EventSource;
  readonly #limit: Limiter;
  readonly #onFailure: (error: unknown) => void;
  // Each member leaves by its close.
  readonly #members = new Set<Member>();
  readonly #pump: Pump;
  #ready: Promise<void> | null = null;
  #position = 0;
  #announced = 0;

  constructor({ channel, source, limit, logger, lateMs = LATE_MS }: RelayDeps) {
    this.channel = channel;
    this.lateMs = lateMs;
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

  get importance(): Subscription['importance'] {
    return this.#source.skip ? 'live' : 'events';
  }

  get page(): number {
    return this.#source.skip ? LIVE_PAGE : PAGE;
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
    return this.#limit(() => this.#source.read(after, this.page));
  }

  /** The mark of what whoever is at this place leaves out to be near the end; null when that would not be much. */
  async skip(after: number): Promise<Entry | null> {
    return this.#limit(async () => (await this.#source.skip?.(after)) ?? null);
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
    let begun = performance.now();
    while (await this.#offerPage()) {
      if (!this.#source.skip) continue;
      await pause(LIVE_PAUSE_MS);
      if (performance.now() - begun <= this.lateMs) continue;
      await this.#leap();
      begun = performance.now();
    }
  }

  /** Answers whether there may be more, and someone to offer it to. */
  async #offerPage(): Promise<boolean> {
    const announced = this.#announced;
    const entries = await this.read(this.#position);
    this.#position = entries.at(-1)?.seq ?? this.#position;
    const isFull = entries.length === this.page;
    if (!isFull) this.#position = Math.max(this.#position, announced);
    // One entry after the other, so that each is encoded once for all (fanOut.ts).
    for (const entry of entries) for (const member of this.#members) member.offer(entry);
    return isFull && this.#members.size > 0;
  }

  async #leap(): Promise<void> {
    const from = this.#position;
    const mark = await this.skip(from);
    if (mark === null) return;
    this.#position = mark.seq;
    for (const member of this.#members) member.leap(from, mark);
  }
}

/** One client's place in a channel. */
class Member implements Subscription {
  readonly #relay: EventRelay;
  readonly #outlet: Outlet;
  readonly #catchUp: Pump;
  #state: 'opening' | 'live' | 'behind' | 'closed' = 'opening';
  /** Everything up to here was sent, or is in the backlog. */
  #position = 0;
  /** When it was last live, or left something out. */
  #behindSince = 0;
  #backlog: Message[] = [];

  constructor(relay: EventRelay, outlet: Outlet, onFailure: (error: unknown) => void) {
    this.#relay = relay;
    this.#outlet = outlet;
    this.#catchUp = createPump(() => this.#readOn(), onFailure);
  }

  get importance(): Subscription['importance'] {
    return this.#relay.importance;
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

  offer(entry: Entry): void {
    if (this.#state === 'live' && !this.#send(entry)) this.#fallBehind();
  }

  /** The relay goes on at the mark instead of at `from`. */
  leap(from: number, mark: Entry): void {
    if (this.#state !== 'live') return;
    // One that has read further than the relay has lost less than the mark says.
    if (this.#position > from || !this.#send(mark)) this.#fallBehind();
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
    this.#behindSince = performance.now();
    this.#state = 'behind';
    if (this.#position >= this.#relay.position) this.#state = 'live';
    else this.#catchUp.poke();
  }

  async #readOn(): Promise<void> {
    while (this.#state === 'behind' && this.#outlet.hasRoom(this)) {
      const isLate = performance.now() - this.#behindSince > this.#relay.lateMs;
      if (isLate && !(await this.#skip())) return;
      const offered = this.#relay.position;
      const entries = await this.#relay.read(this.#position);
      if (this.#state !== 'behind' || !entries.every(entry => this.#send(entry))) return;
      // What was offered before the read and is not in it was not for this channel.
      if (entries.length < this.#relay.page) this.#position = Math.max(this.#position, offered);
      // No await between this look and the next offer: it is live from exactly here on.
      if (this.#position >= this.#relay.position) this.#state = 'live';
    }
  }

  /** False when there was no room for the mark. */
  async #skip(): Promise<boolean> {
    const mark = await this.#relay.skip(this.#position);
    if (this.#state !== 'behind' || (mark !== null && !this.#send(mark))) return false;
    this.#behindSince = performance.now();
    return true;
  }

  /** False when the client had no room for it. */
  #send({ seq, message }: Entry): boolean {
    if (seq <= this.#position) return true;
    if (!this.#outlet.send(message, this)) return false;
    this.#position = seq;
    return true;
  }
}
