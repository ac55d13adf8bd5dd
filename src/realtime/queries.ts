import type { OperationEventData, OperationEventView } from '#src/contracts/operation.js';
import type { Database } from '#src/db/connect.js';
import { readLogHeads } from '#src/db/consoleStorage.js';
import { readMetricHeads } from '#src/db/metrics.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow, OperationEventRow } from '#src/db/types.js';
import type { Permission, ServerAccess } from '#src/domain/permissions.js';
import type { ServerStatus } from '#src/domain/serverState.js';
import type { AgentStatusData } from './messages.js';

/** What of the servers' access concerns this user. A server that is not in the answer does not exist. */
export async function findServerAccess(
  db: Database,
  userId: string,
  serverIds: readonly string[],
): Promise<Map<string, ServerAccess>> {
  const found = await rows<{ id: string; owner_id: string; member: Permission[] | null }>(
    db,
    `SELECT s.id, s.user_id AS owner_id, m.permissions AS member
     FROM servers s LEFT JOIN server_members m ON m.server_id = s.id AND m.user_id = $1
     WHERE s.id = ANY($2::uuid[])`,
    { bind: [userId, serverIds] },
  );
  return new Map(found.map(({ id, owner_id, member }) => [id, { owner_id, member }]));
}

/** The newest place of each channel, or 0. */
export interface Heads {
  /** `server_seq` */
  servers: Map<string, number>;
  /** `seq` */
  operations: Map<string, number>;
  /** Time of the newest line, in µs. */
  consoles: Map<string, number>;
  /** Time of the newest sample, in µs. */
  metrics: Map<string, number>;
  /** `seq`, by user */
  notifications: Map<string, number>;
}

export async function readHeads(
  db: Database,
  ids: {
    servers: readonly string[];
    operations: readonly string[];
    consoles?: readonly string[];
    metrics?: readonly string[];
    users?: readonly string[];
  },
): Promise<Heads> {
  const found = await rows<{ of: 'server' | 'operation'; id: string; head: number }>(
    db,
    `SELECT 'server' AS of, s.id, coalesce((SELECT max(server_seq) FROM operation_events WHERE server_id = s.id), 0) AS head
     FROM unnest($1::uuid[]) AS s (id)
     UNION ALL
     SELECT 'operation', o.id, coalesce((SELECT max(seq) FROM operation_events WHERE op_id = o.id), 0)::bigint
     FROM unnest($2::uuid[]) AS o (id)`,
    { bind: [ids.servers, ids.operations] },
  );
  const heads = (of: string) =>
    new Map(found.filter(each => each.of === of).map(({ id, head }) => [id, head]));
  const consoles = ids.consoles?.length ? await readLogHeads(db, ids.consoles) : new Map<string, number>();
  const metrics = ids.metrics?.length ? await readMetricHeads(db, ids.metrics) : new Map<string, number>();
  const notifications = ids.users?.length
    ? await readNotificationHeads(db, ids.users)
    : new Map<string, number>();
  return { servers: heads('server'), operations: heads('operation'), consoles, metrics, notifications };
}

/** The newest place of each user who was ever told something. */
export async function readNotificationHeads(
  db: Database,
  userIds: readonly string[],
): Promise<Map<string, number>> {
  const found = await rows<{ user_id: string; seq: number }>(
    db,
    'SELECT user_id, seq FROM notification_heads WHERE user_id = ANY($1::uuid[])',
    { bind: [userIds] },
  );
  return new Map(found.map(({ user_id, seq }) => [user_id, seq]));
}

export interface PresentStatus {
  status: ServerStatus;
  updated_at: Date;
  /** The newest `server_seq`, of the same moment. */
  head: number;
  /** The newest change of status; nulls when there was none. */
  op_id: string | null;
  data: OperationEventData | null;
  at: Date | null;
}

/** Undefined when there is no such server. */
export async function readPresentStatus(db: Database, serverId: string): Promise<PresentStatus | undefined> {
  return row<PresentStatus>(
    db,
    `SELECT s.status, s.updated_at, s.server_seq AS head, e.op_id, e.data, e.at
     FROM servers s LEFT JOIN LATERAL
       (SELECT op_id, data, at FROM operation_events
        WHERE server_id = s.id AND type = 'status_changed' ORDER BY server_seq DESC LIMIT 1) e ON true
     WHERE s.id = $1`,
    { bind: [serverId] },
  );
}

/**
 * The newest event of each operation of a server that has not ended, and the newest event of all, in order: what is
 * going on, and where to go on from.
 */
export async function readPresentOperations(db: Database, serverId: string): Promise<OperationEventView[]> {
  const found = await rows<OperationEventRow>(
    db,
    `SELECT e.* FROM operations o CROSS JOIN LATERAL
       (SELECT * FROM operation_events WHERE op_id = o.id ORDER BY seq DESC LIMIT 1) e
     WHERE o.server_id = $1 AND o.state IN ('accepted', 'running', 'needs_operator') AND e.server_seq IS NOT NULL
     UNION
     (SELECT * FROM operation_events WHERE server_id = $1 AND server_seq IS NOT NULL ORDER BY server_seq DESC LIMIT 1)
     ORDER BY server_seq`,
    { bind: [serverId] },
  );
  return found.map(event => ({
    operation_id: event.op_id,
    seq: event.seq,
    server_id: event.server_id,
    server_seq: event.server_seq,
    type: event.type,
    data: event.data,
    at: event.at.toISOString(),
  }));
}

/** Those of the given row ids, or all of them, by their names. */
export async function readAgentStatuses(
  db: Database,
  ids: readonly string[] | null,
): Promise<AgentStatusData[]> {
  const found = await rows<
    Pick<
      AgentRow,
      | 'id'
      | 'agent_id'
      | 'hostname'
      | 'status'
      | 'version'
      | 'cordoned'
      | 'quarantined'
      | 'maintenance_until'
      | 'last_seen'
    >
  >(
    db,
    `SELECT id, agent_id, hostname, status, version, cordoned, quarantined, maintenance_until, last_seen
     FROM agents WHERE $1::uuid[] IS NULL OR id = ANY($1::uuid[]) ORDER BY agent_id`,
    { bind: [ids] },
  );
  return found.map(agent => ({
    ...agent,
    maintenance_until: agent.maintenance_until?.toISOString() ?? null,
    last_seen: agent.last_seen?.toISOString() ?? null,
  }));
}
