import type { Message } from '#src/contracts/events.js';
import type { Client } from './client.js';

/**
 * How much may wait in a transport before a subscription must hold back. Events go on long after live lines have
 * stopped, so that a console that floods a slow client cannot keep its server's status from it.
 */
export const WAITING_LIMITS = { events: 256, live: 64 } as const;

/** What a feed gives to one client. */
export interface Subscription {
  readonly importance: keyof typeof WAITING_LIMITS;
  /** What the client gets with the answer. */
  readonly backlog: readonly Message[];
  /** The answer is out: from here on messages may follow it. */
  start(): void;
  /** There is room again, after `send` answered false. */
  resume(): void;
  /** Leaves the feed; nothing is sent any more. */
  close(): void;
}

/** The sending side of one client, shared by its subscriptions. */
export class Outlet {
  readonly #client: Client;
  // At most the client's subscriptions; each leaves by being resumed or closed.
  readonly #heldBack = new Set<Subscription>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** False when the client has enough to swallow already: nothing was sent, and `resume` will follow. */
  send(message: Message, from: Subscription): boolean {
    if (!this.hasRoom(from)) return false;
    this.#client.send(message);
    return true;
  }

  /** As `send`, for what is still to be fetched. */
  hasRoom(forSubscription: Subscription): boolean {
    if (this.#client.waiting() < WAITING_LIMITS[forSubscription.importance]) return true;
    this.#heldBack.add(forSubscription);
    return false;
  }

  forget(subscription: Subscription): void {
    this.#heldBack.delete(subscription);
  }

  /** The transport has got rid of what waited. Whoever is held back again goes to the end: nobody starves. */
  drained(): void {
    if (this.#heldBack.size === 0) return;
    const resumed = [...this.#heldBack];
    this.#heldBack.clear();
    for (const subscription of resumed) subscription.resume();
  }
}
