import type { Bus, BusTopics } from '#src/bus/bus.js';
import type { Channel } from '#src/contracts/events.js';
import type { Database } from '#src/db/connect.js';
import { AppError, assertNever } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import { AgentFeed } from './agentFeed.js';
import { createEventSource, type EventChannel } from './eventSources.js';
import type { Feed } from './feed.js';
import type { Limiter } from './limiter.js';
import type { Outlet, Subscription } from './outlet.js';
import { startPoll } from './poll.js';
import { readHeads, type Heads } from './queries.js';
import { EventRelay } from './relay.js';

/** Every so many polls, agents are looked at although pokes seem to arrive. */
const RARE_POLLS = 30;

export interface FeedsDeps {
  db: Database;
  bus: Bus;
  /** Bounds the reads of all feeds together, so that they leave connections to everyone else. */
  limit: Limiter;
  logger: Logger;
  /** How often Postgres is asked for what no poke announced; null when only this process appends. */
  pollMs: number | null;
}

/** Every channel that someone watches has its feed here: made for the first subscriber, gone with the last. */
export interface Feeds {
  readonly size: number;
  /** As Feed.subscribe; rejects with `shutting-down` after close. */
  subscribe(to: Outlet, what: Wish): Promise<Subscription>;
  /** Closes the subscription of a channel. */
  leave(what: Pick<Wish, 'name' | 'channel' | 'user_id'>, subscription: Subscription): void;
  /** Closes all that is left; resolves when nothing of it runs any more. */
  close(): Promise<void>;
}

export interface Wish {
  name: string;
  channel: Channel;
  /** Whose; some channels are another for each. */
  user_id: string;
  after: string | null;
  /** Most messages of the backlog. */
  limit: number;
}

export function createFeeds(deps: FeedsDeps): Feeds {
  const { db, bus, limit, logger } = deps;
  const feeds = new Map<string, Feed>();
  // Closed feeds whose last read still runs; each leaves when it is through.
  const ending = new Set<Promise<void>>();
  let closed = false;
  let polls = 0;
  let wasShared = false;

  const stopPokes = [
    bus.subscribe('operation-events', pokeRelays),
    bus.subscribe('agent-status', ({ agent_id }) => pokeAgents(agent_id)),
    bus.subscribe('console', ({ server_id, head }) => pokeRelay(`server:${server_id}:logs`, head)),
    bus.subscribe('samples', ({ server_ids, head }) =>
      server_ids.forEach(id => pokeRelay(`server:${id}:metrics`, head)),
    ),
    bus.subscribe('notifications', ({ user_id }) => pokeRelay(notificationsKey(user_id))),
  ];
  const stopPoll = deps.pollMs === null ? undefined : startPoll(deps.pollMs, poll);

  function pokeRelays({ operation_id, server_id }: BusTopics['operation-events']): void {
    for (const name of [
      `operation:${operation_id}`,
      `server:${server_id}:status`,
      `server:${server_id}:operations`,
    ]) {
      pokeRelay(name);
    }
  }

  function pokeRelay(name: string, head?: number): void {
    const feed = feeds.get(name);
    if (feed instanceof EventRelay) feed.poke(head);
  }

  function pokeAgents(agentId?: string): void {
    const feed = feeds.get('agents');
    if (feed instanceof AgentFeed) feed.poke(agentId);
  }

  /** A statement for each kind of channel. Whatever the bus says of itself: a poke can get lost at its sender's side, too. */
  async function poll(): Promise<void> {
    // Agents have no events to compare with. Their pokes are lost while the bus is not shared, and seldom otherwise.
    if (!bus.shared || !wasShared || polls++ % RARE_POLLS === 0) pokeAgents();
    wasShared = bus.shared;
    const relays = [...feeds.values()].filter(feed => feed instanceof EventRelay);
    if (relays.length === 0) return;
    try {
      const heads = await limit(() => readHeads(db, idsOf(relays.map(relay => relay.channel))));
      for (const relay of relays) {
        const head = headOf(relay.channel, heads);
        if (head !== undefined && head > relay.position) relay.poke(head);
      }
    } catch (error) {
      logger.debug({ err: error }, 'a poll for events failed; the next one comes');
    }
  }

  function make({ name, channel, user_id }: Wish): Feed {
    const past = eventChannelOf(channel, user_id);
    if (!past) return new AgentFeed(name, { db, logger });
    return new EventRelay({ channel: past, source: createEventSource(db, name, past), limit, logger });
  }

  function dropIfIdle(key: string): void {
    const feed = feeds.get(key);
    if (!feed?.idle) return;
    feeds.delete(key);
    end(feed);
  }

  function end(feed: Feed): void {
    const closing = feed.close().finally(() => ending.delete(closing));
    ending.add(closing);
  }

  return {
    get size() {
      return feeds.size;
    },
    async subscribe(to, wish) {
      if (closed) throw new AppError('shutting-down');
      const key = keyOf(wish);
      const feed = feeds.get(key) ?? make(wish);
      feeds.set(key, feed);
      try {
        return await feed.subscribe(to, wish.after, wish.limit);
      } catch (error) {
        dropIfIdle(key);
        throw error;
      }
    },
    leave(what, subscription) {
      subscription.close();
      dropIfIdle(keyOf(what));
    },
    async close() {
      closed = true;
      stopPokes.forEach(stop => stop());
      await stopPoll?.();
      feeds.forEach(end);
      feeds.clear();
      await Promise.all(ending);
    },
  };
}

/** A channel that everyone knows by one name is a feed for each user. */
function keyOf({ name, channel, user_id }: Pick<Wish, 'name' | 'channel' | 'user_id'>): string {
  return channel.kind === 'notifications' ? notificationsKey(user_id) : name;
}

function notificationsKey(userId: string): string {
  return `user:${userId}:notifications`;
}

/** Null for that of the agents, which has no past. */
function eventChannelOf(channel: Channel, user_id: string): EventChannel | null {
  switch (channel.kind) {
    case 'operation':
    case 'server':
      return channel;
    case 'notifications':
      return { kind: 'notifications', user_id };
    case 'agents':
      return null;
    default:
      return assertNever(channel);
  }
}

function headOf(channel: EventChannel, heads: Heads): number | undefined {
  if (channel.kind === 'operation') return heads.operations.get(channel.operation_id);
  if (channel.kind === 'notifications') return heads.notifications.get(channel.user_id);
  if (channel.topic === 'logs') return heads.consoles.get(channel.server_id);
  if (channel.topic === 'metrics') return heads.metrics.get(channel.server_id);
  return heads.servers.get(channel.server_id);
}

function idsOf(channels: readonly EventChannel[]) {
  const servers = new Set<string>();
  const consoles: string[] = [];
  const metrics: string[] = [];
  const users: string[] = [];
  const operations: string[] = [];
  for (const channel of channels) {
    if (channel.kind === 'operation') operations.push(channel.operation_id);
    else if (channel.kind === 'notifications') users.push(channel.user_id);
    else if (channel.topic === 'logs') consoles.push(channel.server_id);
    else if (channel.topic === 'metrics') metrics.push(channel.server_id);
    else servers.add(channel.server_id);
  }
  return { servers: [...servers], consoles, metrics, operations, users };
}
