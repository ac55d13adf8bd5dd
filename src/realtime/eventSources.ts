import type { Channel, Message } from '#src/contracts/events.js';
import type { OperationEventView } from '#src/contracts/operation.js';
import { viewNotification } from '#src/db/alerts.js';
import type { Database } from '#src/db/connect.js';
import { findLogGap, readLogHeads, readLogs, viewLog } from '#src/db/consoleStorage.js';
import {
  readMetricHeads,
  readMetricsAfter,
  readNewestMetrics,
  viewMetrics,
  type PlacedMetrics,
} from '#src/db/metrics.js';
import {
  findOperations,
  listOperationEvents,
  listServerEvents,
  listServerStatusEvents,
} from '#src/db/operationQueries.js';
import { rows } from '#src/db/sql.js';
import type { NotificationRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { encodeCursor } from '#src/contracts/cursor.js';
import {
  errorMessage,
  logMessage,
  metricsMessage,
  notificationMessage,
  operationMessage,
  statusMessage,
  type ServerStatusData,
} from './messages.js';
import {
  readHeads,
  readNotificationHeads,
  readPresentOperations,
  readPresentStatus,
  type PresentStatus,
} from './queries.js';

/** The channels whose past is in Postgres: events, what consoles have printed, what was measured, what a user was told. */
export type EventChannel =
  Extract<Channel, { kind: 'server' | 'operation' }> | { kind: 'notifications'; user_id: string };

/** An event of a channel and its place in it. */
export interface Entry {
  seq: number;
  message: Message;
}

/** One channel's events in Postgres. Places only grow, and an event is never seen before one that comes ahead of it. */
export interface EventSource {
  /** No event at or before this place is still to come. */
  head(): Promise<number>;
  /** In order; fewer than `limit` means that there are no more. */
  read(after: number, limit: number): Promise<Entry[]>;
  /** What someone without a cursor gets, and the place from which it goes on. */
  snapshot(limit: number): Promise<{ entries: Entry[]; position: number }>;
  /**
   * Where clients may be shown the newest instead of everything: the mark that stands for what comes after a place and
   * before the newest; null when that is not much.
   */
  skip?(after: number): Promise<Entry | null>;
}

/** What a newcomer is shown of what they have not read; the rest is a list to ask for. */
const MAX_UNREAD = 20;

export function createEventSource(db: Database, name: string, channel: EventChannel): EventSource {
  if (channel.kind === 'operation') return operationSource(db, name, channel.operation_id);
  if (channel.kind === 'notifications') return notificationSource(db, name, channel.user_id);
  switch (channel.topic) {
    case 'status':
      return statusSource(db, name, channel.server_id);
    case 'operations':
      return serverOperationsSource(db, name, channel.server_id);
    case 'logs':
      return consoleSource(db, name, channel.server_id);
    case 'metrics':
      return metricsSource(db, name, channel.server_id);
  }
}

/** Who leaves lines out goes on with so many of the newest, and does so for more than so many only. */
const GAP = { keep: 200, unless: 1_000 };

function consoleSource(db: Database, name: string, serverId: string): EventSource {
  const read = async (query: { after?: number; limit: number }) => {
    const logs = await readLogs(db, serverId, query);
    return logs.map(log => ({ seq: log.place, message: logMessage(name, viewLog(log)) }));
  };
  return {
    head: async () => (await readLogHeads(db, [serverId])).get(serverId) ?? 0,
    read: (after, limit) => read({ after, limit }),
    snapshot: async limit => {
      const entries = await read({ limit });
      return { entries, position: entries.at(-1)?.seq ?? 0 };
    },
    skip: async after => {
      const gap = await findLogGap(db, serverId, { after, ...GAP });
      if (!gap) return null;
      const { dropped, at_least, end } = gap;
      const data = { code: 'dropped' as const, dropped, ...(at_least && { at_least }) };
      return { seq: end, message: errorMessage(name, data, encodeCursor(after)) };
    },
  };
}

/** A client that was away for long gets the last hour; what was before is for GET metrics. */
function metricsSource(db: Database, name: string, serverId: string): EventSource {
  const entryOf = (metrics: PlacedMetrics): Entry => ({
    seq: metrics.place,
    message: metricsMessage(name, viewMetrics(metrics), encodeCursor(metrics.place)),
  });
  return {
    head: async () => (await readMetricHeads(db, [serverId])).get(serverId) ?? 0,
    read: async (after, limit) => (await readMetricsAfter(db, serverId, after, limit)).map(entryOf),
    snapshot: async () => {
      const newest = await readNewestMetrics(db, serverId);
      return { entries: newest ? [entryOf(newest)] : [], position: newest?.place ?? 0 };
    },
  };
}

function statusSource(db: Database, name: string, serverId: string): EventSource {
  return {
    head: () => serverHead(db, serverId),
    read: async (after, limit) => {
      const events = await listServerStatusEvents(db, serverId, after, limit);
      return events.flatMap(({ server_seq, operation_id, data, at }) => {
        if (server_seq === null || data.status === undefined) return [];
        const { status, previous_status = null, reason } = data;
        const change = {
          server_id: serverId,
          status,
          previous_status,
          operation_id,
          ...(reason && { reason }),
        };
        return [{ seq: server_seq, message: statusMessage(name, change, at, encodeCursor(server_seq)) }];
      });
    },
    /** The present status, so that nobody looks at nothing until it changes. */
    snapshot: async () => {
      const present = await readPresentStatus(db, serverId);
      if (!present) throw new AppError('not-found');
      const message = presentStatusMessage(name, serverId, present);
      return { entries: [{ seq: present.head, message }], position: present.head };
    },
  };
}

/** As the change that led to it, where one did: a new row has a status that nothing changed. */
function presentStatusMessage(name: string, serverId: string, present: PresentStatus) {
  const { status, head, op_id, data, at } = present;
  const changed = data?.status === status && op_id !== null;
  const message: ServerStatusData = {
    server_id: serverId,
    status,
    previous_status: (changed && data.previous_status) || null,
    ...(changed && { operation_id: op_id }),
    ...(changed && data.reason && { reason: data.reason }),
  };
  const since = (changed ? at : null) ?? present.updated_at;
  return statusMessage(name, message, since.toISOString(), encodeCursor(head));
}

function serverOperationsSource(db: Database, name: string, serverId: string): EventSource {
  return {
    head: () => serverHead(db, serverId),
    read: async (after, limit) =>
      operationEntries(db, name, await listServerEvents(db, serverId, after, limit), 'server_seq'),
    /** Where each unfinished operation stands, and the newest event of all, which gives everyone a cursor. */
    snapshot: async () => {
      const entries = await operationEntries(
        db,
        name,
        await readPresentOperations(db, serverId),
        'server_seq',
      );
      return { entries, position: entries.at(-1)?.seq ?? 0 };
    },
  };
}

function operationSource(db: Database, name: string, operationId: string): EventSource {
  const read = async (after: number, limit: number) =>
    operationEntries(db, name, await listOperationEvents(db, operationId, after, limit), 'seq');
  return {
    head: async () => {
      const { operations } = await readHeads(db, { servers: [], operations: [operationId] });
      return operations.get(operationId) ?? 0;
    },
    read,
    /** From its beginning: an operation is short, and whoever watches it wants all of it. */
    snapshot: async limit => {
      const entries = await read(0, limit);
      return { entries, position: entries.at(-1)?.seq ?? 0 };
    },
  };
}

/** What one user is told. Places are `seq`, given out under a lock of the user's head. */
function notificationSource(db: Database, name: string, userId: string): EventSource {
  const entriesOf = (found: readonly NotificationRow[]): Entry[] =>
    found.map(told => ({
      seq: told.seq,
      message: notificationMessage(name, viewNotification(told), encodeCursor(told.seq)),
    }));
  return {
    head: () => notificationHead(db, userId),
    read: async (after, limit) =>
      entriesOf(
        await rows<NotificationRow>(
          db,
          'SELECT * FROM notifications WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT $3',
          { bind: [userId, after, limit] },
        ),
      ),
    snapshot: async limit => {
      const head = await notificationHead(db, userId);
      const unread = await rows<NotificationRow>(
        db,
        `SELECT * FROM notifications
         WHERE user_id = $1 AND seq <= $2 AND read_at IS NULL ORDER BY seq DESC LIMIT $3`,
        { bind: [userId, head, Math.min(limit, MAX_UNREAD)] },
      );
      return { entries: entriesOf(unread.toReversed()), position: head };
    },
  };
}

async function notificationHead(db: Database, userId: string): Promise<number> {
  return (await readNotificationHeads(db, [userId])).get(userId) ?? 0;
}

async function serverHead(db: Database, serverId: string): Promise<number> {
  const { servers } = await readHeads(db, { servers: [serverId], operations: [] });
  return servers.get(serverId) ?? 0;
}

/** Places are `seq` in an operation's own channel, `server_seq` in its server's. */
async function operationEntries(
  db: Database,
  name: string,
  events: readonly OperationEventView[],
  place: 'seq' | 'server_seq',
): Promise<Entry[]> {
  if (events.length === 0) return [];
  const operations = await findOperations(db, [...new Set(events.map(event => event.operation_id))]);
  return events.flatMap(event => {
    const seq = event[place];
    const operation = operations.get(event.operation_id);
    if (seq === null || !operation) return [];
    return [{ seq, message: operationMessage(name, { operation, event }, encodeCursor(seq)) }];
  });
}
