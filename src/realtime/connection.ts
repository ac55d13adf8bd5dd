import {
  parseChannel,
  type Channel,
  type SubscribeAnswer,
  type SubscribeRequest,
} from '#src/contracts/events.js';
import type { Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Actor } from '#src/domain/permissions.js';
import type { Logger } from '#src/observability/logger.js';
import { findDenials, findServerDenial } from './access.js';
import type { Client, Principal } from './client.js';
import { startExpiry } from './expiry.js';
import type { Feeds } from './feeds.js';
import { createInbound } from './inbound.js';
import type { Limiter } from './limiter.js';
import { errorMessage } from './messages.js';
import { Outlet, type Subscription } from './outlet.js';
import { MAX_CHANNELS, parseCommand, parseSubscribe, parseUnsubscribe } from './requests.js';

/** Most messages in one answer, shared by its channels; what else there is follows as messages. */
const MAX_BACKLOG = 1_000;
const MAX_BACKLOG_OF_A_CHANNEL = 200;

/** Runs a console command for someone who may; rejects with an AppError. */
export type SendCommand = (user: Actor, serverId: string, command: string) => Promise<{ output?: string }>;

export interface ConnectionDeps {
  db: Database;
  feeds: Feeds;
  limit: Limiter;
  sendCommand: SendCommand;
  logger: Logger;
  onEnd: (connection: Connection) => void;
}

type Denied = SubscribeAnswer['denied'];

interface Watched {
  channel: Channel;
  subscription: Subscription;
}

/** One client's channels, permissions and requests, whatever its transport. */
export class Connection {
  readonly #client: Client;
  readonly #deps: ConnectionDeps;
  readonly #outlet: Outlet;
  readonly #inbound = createInbound();
  // At most MAX_CHANNELS; each goes by unsubscribe, by a lost permission, or with the connection.
  readonly #watched = new Map<string, Watched>();
  #principal: Principal;
  #stopExpiry: () => void;
  #turn: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(client: Client, principal: Principal, deps: ConnectionDeps) {
    this.#client = client;
    this.#principal = principal;
    this.#deps = deps;
    this.#outlet = new Outlet(client);
    this.#stopExpiry = this.#watchExpiry();
  }

  get userId(): string {
    return this.#principal.user.id;
  }

  get channels(): number {
    return this.#watched.size;
  }

  /**
   * `reply` is called once, before any message of the channels. After a rejection none of them is watched; only a
   * request that was refused as such (`invalid-request`, `rate-limited`) has changed nothing.
   */
  subscribe(input: unknown, reply: (answer: SubscribeAnswer) => void): Promise<void> {
    return this.#admit(() => this.#inTurn(() => this.#subscribe(parseSubscribe(input), reply)));
  }

  unsubscribe(input: unknown): Promise<{ unsubscribed: string[] }> {
    return this.#admit(() =>
      this.#inTurn(async () => {
        const { channels } = parseUnsubscribe(input);
        return { unsubscribed: channels.filter(name => this.#leave(name)) };
      }),
    );
  }

  command(input: unknown): Promise<{ output?: string }> {
    return this.#admit(async () => {
      const { server_id, command } = parseCommand(input);
      const { user } = this.#principal;
      const denial = await findServerDenial(this.#deps.db, user, server_id, 'console.write');
      if (denial) throw new AppError(denial);
      return this.#deps.sendCommand(user, server_id, command);
    });
  }

  /** The client wants to know that we are there. */
  greet(): Promise<void> {
    return this.#admit(() => Promise.resolve());
  }

  /** What is no request at all counts like one. */
  refuse(detail: string): Promise<never> {
    return this.#admit(() => Promise.reject(new AppError('invalid-request', { detail })));
  }

  /** An error message that answers no request; about the connection unless a channel is named. */
  tell({ code, detail }: Pick<AppError, 'code' | 'detail'>, channel = ''): void {
    this.#client.send(errorMessage(channel, { code, detail }));
  }

  /** The transport has handed on what waited in it. */
  drained(): void {
    this.#outlet.drained();
  }

  /** The client is gone. */
  detach(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopExpiry();
    for (const name of this.#watched.keys()) this.#leave(name);
    this.#deps.onEnd(this);
  }

  /** Tells the client why, and ends the connection. */
  end(reason: AppError): void {
    if (this.#ended) return;
    this.tell(reason);
    this.#client.close(reason);
    this.detach();
  }

  /** Looks again at who this is and what they may watch. A database that is away changes nothing. */
  recheck(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) return;
      try {
        this.#principal = await this.#client.verify();
        this.#stopExpiry();
        this.#stopExpiry = this.#watchExpiry();
        await this.#dropDenied();
      } catch (error) {
        if (error instanceof AppError && error.status === 401) this.end(error);
        else
          this.#deps.logger.warn(
            { err: error, client: this.#client.id },
            'permissions cannot be checked again',
          );
      }
    });
  }

  /** Resolves when no request or recheck is under way any more. */
  async idle(): Promise<void> {
    await this.#turn;
  }

  async #subscribe(request: SubscribeRequest, reply: (answer: SubscribeAnswer) => void): Promise<void> {
    // A channel that is asked for again begins again, from the cursor that came with it.
    for (const name of request.channels) this.#leave(name);
    const { allowed, denied } = await this.#authorise(request.channels);
    const { opened, refused } = await this.#open(allowed, request.after ?? {});
    for (const [name, watched] of opened) this.#watched.set(name, watched);
    if (this.#ended) return opened.forEach((_, name) => void this.#leave(name));
    const subscriptions = [...opened.values()].map(({ subscription }) => subscription);
    reply({
      subscribed: [...opened.keys()],
      denied: [...denied, ...refused],
      backlog: subscriptions.flatMap(subscription => subscription.backlog),
    });
    for (const subscription of subscriptions) subscription.start();
  }

  async #authorise(names: readonly string[]): Promise<{ allowed: Map<string, Channel>; denied: Denied }> {
    const channels = new Map<string, Channel>();
    const denied: Denied = [];
    for (const name of new Set(names)) {
      const channel = parseChannel(name);
      if (channel) channels.set(name, channel);
      else denied.push({ channel: name, code: 'not-found' });
    }
    const { db, limit } = this.#deps;
    const denials = await limit(() => findDenials(db, this.#principal.user, channels));
    const room = MAX_CHANNELS - this.#watched.size;
    const allowed = new Map<string, Channel>();
    for (const [name, channel] of channels) {
      const code = denials.get(name) ?? (allowed.size < room ? null : 'rate-limited');
      if (code) denied.push({ channel: name, code });
      else allowed.set(name, channel);
    }
    return { allowed, denied };
  }

  /** All or nothing, but for channels whose own fault it is, as with a bad cursor: those are refused. */
  async #open(channels: ReadonlyMap<string, Channel>, after: Record<string, string>) {
    const limit = Math.min(Math.ceil(MAX_BACKLOG / channels.size), MAX_BACKLOG_OF_A_CHANNEL);
    const opened = new Map<string, Watched>();
    const refused: Denied = [];
    const failures: unknown[] = [];
    const openings = [...channels].map(async ([name, channel]) => {
      try {
        const wish = { name, channel, user_id: this.userId, after: after[name] ?? null, limit };
        opened.set(name, { channel, subscription: await this.#deps.feeds.subscribe(this.#outlet, wish) });
      } catch (error) {
        if (error instanceof AppError && error.status < 500)
          refused.push({ channel: name, code: error.code });
        else failures.push(error);
      }
    });
    await Promise.all(openings);
    if (failures.length === 0) return { opened, refused };
    for (const [name, watched] of opened) this.#close(name, watched);
    throw failures[0];
  }

  async #dropDenied(): Promise<void> {
    const channels = new Map([...this.#watched].map(([name, { channel }]) => [name, channel]));
    if (channels.size === 0) return;
    for (const [name, code] of await findDenials(this.#deps.db, this.#principal.user, channels)) {
      this.#leave(name);
      this.tell(new AppError(code, { detail: 'You may no longer watch this channel' }), name);
    }
  }

  /** False when it was not watched. */
  #leave(name: string): boolean {
    const watched = this.#watched.get(name);
    if (!watched) return false;
    this.#watched.delete(name);
    this.#close(name, watched);
    return true;
  }

  #close(name: string, { channel, subscription }: Watched): void {
    this.#deps.feeds.leave({ name, channel, user_id: this.userId }, subscription);
  }

  #watchExpiry(): () => void {
    const { expiresAt } = this.#principal;
    return startExpiry(expiresAt, () => this.end(new AppError('token-expired')));
  }

  async #admit<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inbound.flooding) this.end(new AppError('rate-limited'));
    if (this.#ended) throw new AppError('shutting-down', { detail: 'The connection is ending' });
    return this.#inbound.admit(work);
  }

  /** One after the other, so that what a client watches is what it asked for last. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    const settled = () => undefined;
    this.#turn = done.then(settled, settled);
    return done;
  }
}
