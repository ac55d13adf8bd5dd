import type { Bus, BusTopics } from '#src/bus/bus.js';
import type { Channel } from '#src/contracts/events.js';
import type { Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import { AgentFeed } from './agentFeed.js';
import { createEventSource, type EventChannel } from './eventSources.js';
import type { Feed } from './feed.js';
import type { Limiter } from './limiter.js';
import { LiveFeed } from './liveFeed.js';
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
  leave(name: string, subscription: Subscription): void;
  /** Closes all that is left; resolves when nothing of it runs any more. */
  close(): Promise<void>;
}

export interface Wish {
  name: string;
  channel: Channel;
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

  /** One statement for all channels. Whatever the bus says of itself: a poke can get lost at its sender's side, too. */
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

  function make(name: string, channel: Channel): Feed {
    if (isEventChannel(channel)) {
      return new EventRelay({ channel, source: createEventSource(db, name, channel), limit, logger });
    }
    if (channel.kind === 'agents') return new AgentFeed(name, { db, logger });
    return new LiveFeed(name, async () => []);
  }

  function dropIfIdle(name: string): void {
    const feed = feeds.get(name);
    if (!feed?.idle) return;
    feeds.delete(name);
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
    async subscribe(to, { name, channel, after, limit: most }) {
      if (closed) throw new AppError('shutting-down');
      const feed = feeds.get(name) ?? make(name, channel);
      feeds.set(name, feed);
      try {
        return await feed.subscribe(to, after, most);
      } catch (error) {
        dropIfIdle(name);
        throw error;
      }
    },
    leave(name, subscription) {
      subscription.close();
      dropIfIdle(name);
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

function isEventChannel(channel: Channel): channel is EventChannel {
  return channel.kind === 'operation' || channel.kind === 'server';
}

function headOf(channel: EventChannel, heads: Heads): number | undefined {
  if (channel.kind === 'operation') return heads.operations.get(channel.operation_id);
  if (channel.topic === 'logs') return heads.consoles.get(channel.server_id);
  if (channel.topic === 'metrics') return heads.metrics.get(channel.server_id);
  return heads.servers.get(channel.server_id);
}

function idsOf(channels: readonly EventChannel[]) {
  const servers = new Set<string>();
  const consoles: string[] = [];
  const metrics: string[] = [];
  const operations: string[] = [];
  for (const channel of channels) {
    if (channel.kind === 'operation') operations.push(channel.operation_id);
    else if (channel.topic === 'logs') consoles.push(channel.server_id);
    else if (channel.topic === 'metrics') metrics.push(channel.server_id);
    else servers.add(channel.server_id);
  }
  return { servers: [...servers], consoles, metrics, operations };
}
