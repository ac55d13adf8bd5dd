import { saneHost, saneServer, type HostMeasures, type ServerMeasures } from '#src/domain/sample.js';
import type { Database } from './connect.js';
import { sqlState, translate } from './errors.js';
import { row } from './sql.js';

/** Which of an agent's samples was stored last. */
export interface SamplePosition {
  incarnation: string;
  seq: number;
}

export interface Sample {
  seq: number;
  /** How long ago it was taken, in ms. */
  age_ms: number;
  host: HostMeasures | null;
  servers: readonly (ServerMeasures & { server_id: string })[];
}

export interface SampleBatch {
  agent_id: string;
  /** Where storage is believed to be; null: nothing is stored of this agent. */
  expected: SamplePosition | null;
  incarnation: string;
  /** In order, at least one. */
  samples: readonly Sample[];
}

export type StoreSamplesResult =
  /** `head`: place of the newest one. `server_ids`: of which servers there were rows to write. */
  | { outcome: 'stored'; head: number; server_ids: string[] }
  | { outcome: 'elsewhere'; position: SamplePosition | null }
  | { outcome: 'gone' };

const FOREIGN_KEY_VIOLATION = '23503';
const MAX_AGE_MS = 3_600_000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Stores samples exactly once: their rows come with the compare-and-set of the agent's cursor, in one statement, as
 * storeConsole does it. An agent speaks for its own servers only: what it says of others is left out.
 *
 * A sample's time is the database's, less its age: at most an hour ago and never to come. Times of an agent strictly
 * grow, by microseconds where they would not by themselves: a row's time is also its place.
 */
export async function storeSamples(db: Database, batch: SampleBatch): Promise<StoreSamplesResult> {
  const { agent_id, expected, incarnation, samples } = batch;
  const seq = samples.at(-1)?.seq ?? expected?.seq ?? 0;
  try {
    const stored = await row<{ head: number; server_ids: string[] }>(
      db,
      `WITH given AS (
         SELECT nth, host, servers,
           max(now() - age_ms * interval '1 millisecond' - nth * interval '1 microsecond') OVER (ORDER BY nth) AS at
         FROM ROWS FROM (json_to_recordset($6::json) AS (age_ms double precision, host json, servers json))
           WITH ORDINALITY AS sample (age_ms, host, servers, nth)
       ), timed AS (
         SELECT host, servers, greatest(at, (SELECT last_at FROM sample_cursors WHERE agent_id = $1))
           + nth * interval '1 microsecond' AS at
         FROM given
       ), moved AS (
         INSERT INTO sample_cursors AS c (agent_id, incarnation, seq, last_at)
         SELECT $1, $4, $5, max(at) FROM timed
         HAVING $2::text IS NULL OR EXISTS (SELECT FROM sample_cursors WHERE agent_id = $1)
         ON CONFLICT (agent_id) DO UPDATE
         SET incarnation = EXCLUDED.incarnation, seq = EXCLUDED.seq, last_at = EXCLUDED.last_at
         WHERE c.incarnation = $2::text AND c.seq = $3::bigint
         RETURNING last_at
       ), of_agent AS (
         INSERT INTO agent_metrics (agent_id, "timestamp", cpu_percent, memory_total, memory_used, disk_total, disk_used,
           network_sent, network_received)
         SELECT $1, at, said.* FROM moved, timed, json_to_record(host) AS said (cpu_percent double precision,
           memory_total bigint, memory_used bigint, disk_total bigint, disk_used bigint, network_sent bigint,
           network_received bigint)
         WHERE host IS NOT NULL
       ), of_servers AS (
         INSERT INTO server_metrics (server_id, "timestamp", cpu_percent, memory_used, players_online, tps,
           uptime_seconds, disk_used)
         SELECT s.id, at, said.cpu_percent, said.memory_used, said.players_online, said.tps, said.uptime_seconds,
           said.disk_used
         FROM moved, timed, json_to_recordset(servers) AS said (server_id uuid, cpu_percent double precision,
           memory_used bigint, players_online integer, tps double precision, uptime_seconds bigint, disk_used bigint)
         JOIN servers s ON s.id = said.server_id AND s.agent_id = $1
         RETURNING server_id
       )
       SELECT (extract(epoch FROM last_at) * 1000000)::bigint AS head,
         ARRAY(SELECT DISTINCT server_id::text FROM of_servers) AS server_ids
       FROM moved`,
      {
        bind: [
          agent_id,
          expected?.incarnation ?? null,
          expected?.seq ?? null,
          incarnation,
          seq,
          JSON.stringify(samples.map(saneSample)),
        ],
      },
    );
    if (stored) return { outcome: 'stored', ...stored };
  } catch (error) {
    if (sqlState(error) === FOREIGN_KEY_VIOLATION) return { outcome: 'gone' };
    throw translate(error);
  }
  return { outcome: 'elsewhere', position: await readSamplePosition(db, agent_id) };
}

/** Whatever an agent says, it must be something that the columns can hold. */
function saneSample({ age_ms, host, servers }: Sample) {
  const byId = new Map(
    servers
      .filter(({ server_id }) => UUID.test(server_id))
      .map(({ server_id, ...said }) => [server_id.toLowerCase(), saneServer(said)]),
  );
  return {
    age_ms: Math.min(Math.max(age_ms || 0, 0), MAX_AGE_MS),
    host: host && saneHost(host),
    servers: [...byId].map(([server_id, said]) => ({ server_id, ...said })),
  };
}

/** Null for an agent of which no sample was ever stored. */
export async function readSamplePosition(db: Database, agentId: string): Promise<SamplePosition | null> {
  const found = await row<SamplePosition>(
    db,
    'SELECT incarnation, seq FROM sample_cursors WHERE agent_id = $1',
    { bind: [agentId] },
  );
  return found ?? null;
}
