import type { Database } from './connect.js';
import { rows } from './sql.js';
import type { AgentMetricRow, ServerMetricRow } from './types.js';

export interface MetricsRange {
  /** Inclusive. */
  from: Date;
  /** Exclusive. */
  to: Date;
  /** Whole seconds. */
  stepS: number;
}

/** `timestamp`: the beginning of its step. */
export type ServerHistoryPoint = Omit<ServerMetricRow, 'id'>;
export type AgentHistoryPoint = Omit<AgentMetricRow, 'id'>;

/**
 * Steps are counted from 1970, so that the same step begins at the same moments whoever asks and when. Those without a
 * sample are left out. What a level is (processor, memory, disk, ticks) is its mean over those samples that tell it.
 */
function inSteps(table: string, owner: string, columns: readonly string[]): string {
  return `SELECT ${owner}, to_timestamp(floor(extract(epoch FROM "timestamp")::double precision / $4::integer) * $4::integer)
      AS "timestamp", ${columns.join(', ')}
    FROM ${table} WHERE ${owner} = $1 AND "timestamp" >= $2 AND "timestamp" < $3 GROUP BY 1, 2 ORDER BY 2`;
}

const mean = (column: string) => `round(avg(${column})::numeric, 2)::double precision AS ${column}`;
const meanBytes = (column: string) => `round(avg(${column}))::bigint AS ${column}`;
const highest = (column: string) => `max(${column}) AS ${column}`;
/** Of a counter, which a restart sets back. */
const latest = (column: string) =>
  `(array_agg(${column} ORDER BY "timestamp" DESC) FILTER (WHERE ${column} IS NOT NULL))[1] AS ${column}`;

const OF_SERVER = inSteps('server_metrics', 'server_id', [
  mean('cpu_percent'),
  meanBytes('memory_used'),
  highest('players_online'),
  mean('tps'),
  latest('uptime_seconds'),
  meanBytes('disk_used'),
]);

const OF_AGENT = inSteps('agent_metrics', 'agent_id', [
  mean('cpu_percent'),
  highest('memory_total'),
  meanBytes('memory_used'),
  highest('disk_total'),
  meanBytes('disk_used'),
  latest('network_sent'),
  latest('network_received'),
]);

export function readServerHistory(db: Database, serverId: string, range: MetricsRange) {
  return rows<ServerHistoryPoint>(db, OF_SERVER, { bind: [serverId, range.from, range.to, range.stepS] });
}

export function readAgentHistory(db: Database, agentId: string, range: MetricsRange) {
  return rows<AgentHistoryPoint>(db, OF_AGENT, { bind: [agentId, range.from, range.to, range.stepS] });
}
