import type { ServerMetricsView } from '#src/contracts/metrics.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { ServerMetricRow } from './types.js';

/** A row and its place: its time, in microseconds since 1970. */
export type PlacedMetrics = ServerMetricRow & { place: number };

const PLACE = `(extract(epoch FROM "timestamp") * 1000000)::bigint`;

/** What a place further back is worth: older samples are for readServerHistory. */
const BACKLOG = `interval '1 hour'`;

/** The oldest `limit` samples after a place and of the last hour, in order. */
export async function readMetricsAfter(
  db: Database,
  serverId: string,
  after: number,
  limit: number,
): Promise<PlacedMetrics[]> {
  return rows<PlacedMetrics>(
    db,
    `SELECT *, ${PLACE} AS place FROM server_metrics
     WHERE server_id = $1
       AND "timestamp" > greatest(timestamptz 'epoch' + $2::bigint * interval '1 microsecond', now() - ${BACKLOG})
     ORDER BY "timestamp" LIMIT $3`,
    { bind: [serverId, after, limit] },
  );
}

/** Undefined for a server that was never measured. */
export async function readNewestMetrics(db: Database, serverId: string): Promise<PlacedMetrics | undefined> {
  return row<PlacedMetrics>(
    db,
    `SELECT *, ${PLACE} AS place FROM server_metrics WHERE server_id = $1 ORDER BY "timestamp" DESC LIMIT 1`,
    { bind: [serverId] },
  );
}

/**
 * Places before which nothing more comes; 0 for servers of which no sample was stored. It is the agent's place, which
 * may be beyond the server's newest row; behind that only when the server has come from another agent.
 */
export async function readMetricHeads(
  db: Database,
  serverIds: readonly string[],
): Promise<Map<string, number>> {
  const found = await rows<{ id: string; head: number }>(
    db,
    `SELECT s.id, coalesce((extract(epoch FROM greatest(c.last_at, (
         SELECT max("timestamp") FROM server_metrics
         WHERE server_id = s.id AND "timestamp" > coalesce(c.last_at, '-infinity')
       ))) * 1000000)::bigint, 0) AS head
     FROM servers s LEFT JOIN sample_cursors c ON c.agent_id = s.agent_id
     WHERE s.id = ANY($1::uuid[])`,
    { bind: [serverIds] },
  );
  return new Map(found.map(({ id, head }) => [id, head]));
}

export function viewMetrics(metrics: Omit<ServerMetricRow, 'id'>): ServerMetricsView {
  return {
    server_id: metrics.server_id,
    timestamp: metrics.timestamp.toISOString(),
    cpu_percent: metrics.cpu_percent,
    memory_used: metrics.memory_used,
    players_online: metrics.players_online,
    tps: metrics.tps,
    uptime_seconds: metrics.uptime_seconds,
    disk_used: metrics.disk_used,
  };
}
