import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import type { Client, Principal } from './client.js';
import { Connection, type SendCommand } from './connection.js';
import { createFeeds } from './feeds.js';
import { createLimiter } from './limiter.js';
import { startPoll } from './poll.js';

/** Reads that the hub does at once: it shares its pool with every REST request. */
const MAX_READS = 4;
const MAX_CONNECTIONS_OF_A_USER = 100;
/** With the time that a round takes, well within a minute. */
const RECHECK_MS = 40_000;

export interface HubDeps {
  db: Database;
  bus: Bus;
  sendCommand: SendCommand;
  logger: Logger;
  /**
   * How often Postgres is asked for events that no poke announced: the most that a lost poke costs. Null when this
   * process is the only one that appends events.
   */
  pollMs: number | null;
  /** How often every connection's token and permissions are looked at again. */
  recheckMs?: number;
}

/**
 * Everything that realtime does, but for the transports, which attach their clients here.
 *
 * - Subscribe = authorise, join, read, answer: a client misses nothing and gets nothing twice between the backlog in
 *   the answer and the messages after it.
 * - Events come from Postgres alone; pokes only say when to look. So they outlive every fault of the bus.
 * - Nobody's slowness is another's: each client holds only itself back (outlet.ts, relay.ts, liveFeed.ts).
 */
export interface Hub {
  /** Throws `rate-limited` for a user with too many connections, `shutting-down` at the end. */
  attach(client: Client, principal: Principal): Connection;
  /**
   * A user's sessions, role or memberships have changed: what they may no longer watch stops now, not within a minute.
   * The bus's `access-changed` does the same, in every process.
   */
  recheck(userId: string): Promise<void>;
  /** For metrics. */
  readonly stats: { clients: number; subscriptions: number; feeds: number };
  /** Ends every connection with `shutting-down`; resolves when nothing runs any more. */
  close(): Promise<void>;
}

export function createHub(deps: HubDeps): Hub {
  const { db, bus, logger, pollMs, sendCommand, recheckMs = RECHECK_MS } = deps;
  const limit = createLimiter(MAX_READS);
  // Not the same one: a recheck waits for a subscribe of its connection, which waits for its reads.
  const limitRechecks = createLimiter(MAX_READS);
  const feeds = createFeeds({ db, bus, limit, logger, pollMs });
  // Each leaves when it ends.
  const connections = new Set<Connection>();
  const stopRechecks = startPoll(recheckMs, () => recheckAll([...connections]));
  const stopListening = bus.subscribe('access-changed', ({ user_id }) => void recheckAll(ofUser(user_id)));
  let closing = false;

  async function recheckAll(chosen: readonly Connection[]): Promise<void> {
    await Promise.all(chosen.map(connection => limitRechecks(() => connection.recheck())));
  }

  function ofUser(userId: string): Connection[] {
    return [...connections].filter(connection => connection.userId === userId);
  }

  return {
    attach(client, principal) {
      if (closing) throw new AppError('shutting-down');
      if (ofUser(principal.user.id).length >= MAX_CONNECTIONS_OF_A_USER) {
        throw new AppError('rate-limited', { detail: 'Too many connections of one user' });
      }
      const onEnd = (ended: Connection) => void connections.delete(ended);
      const connection = new Connection(client, principal, { db, feeds, limit, sendCommand, logger, onEnd });
      connections.add(connection);
      return connection;
    },
    recheck: userId => recheckAll(ofUser(userId)),
    get stats() {
      const subscriptions = [...connections].reduce((sum, connection) => sum + connection.channels, 0);
      return { clients: connections.size, subscriptions, feeds: feeds.size };
    },
    async close() {
      closing = true;
      stopListening();
      const ended = [...connections];
      for (const connection of ended) connection.end(new AppError('shutting-down'));
      await Promise.all([stopRechecks(), feeds.close(), ...ended.map(connection => connection.idle())]);
      await limit.idle();
    },
  };
}
