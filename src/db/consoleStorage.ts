import { encodeCursor } from '#src/contracts/cursor.js';
import type { LogEntryView } from '#src/contracts/logEntry.js';
import type { ConsoleEntry } from '#src/domain/consoleEntry.js';
import type { Database } from './connect.js';
import { sqlState, translate } from './errors.js';
import { row, rows } from './sql.js';
import type { LogRow } from './types.js';

/** Where a run's console has been read to, in bytes. */
export interface ConsolePosition {
  run_id: string;
  byte_offset: number;
}

/** A piece of one run's console, whole lines, in order. */
export interface ConsolePiece {
  server_id: string;
  run_id: string;
  /** How far the run was stored when this was read, and how far it is with this. */
  from: number;
  to: number;
  /** When it was read from the console, in ms since 1970: the time of entries that have none of their own. */
  at_ms: number;
  entries: readonly ConsoleEntry[];
}

export interface Stored {
  outcome: 'stored';
  /** Place of the newest entry; null when there was none in the piece. */
  head: number | null;
}

/** `elsewhere`: the run is stored up to another place than the piece begins at; `gone`: the server is no more. */
export type StoreResult = Stored | { outcome: 'elsewhere'; byte_offset: number } | { outcome: 'gone' };

/** A row of the history and its place in it. */
export type PlacedLog = LogRow & { place: number };

const FOREIGN_KEY_VIOLATION = '23503';

/** Microseconds since 1970: exact in a double until the year 2255. */
const PLACE = `(extract(epoch FROM "timestamp") * 1000000)::bigint`;
const timeOf = (place: string) => `(timestamptz 'epoch' + ${place}::bigint * interval '1 microsecond')`;

/** A time in ms, within an hour of the database's clock. */
const timeWithin = (ms: string) =>
  `least(greatest(to_timestamp(${ms}::double precision / 1000), now() - interval '1 hour'), now() + interval '1 hour')`;

/**
 * Stores a piece exactly once: its rows come with the compare-and-set of the run's cursor, in one statement. Two
 * collectors of one server, however they came about, cannot write a line twice, and a batch whose answer was lost is
 * found stored when it is tried again.
 *
 * Times of a server strictly grow, at least by microseconds within a piece and never behind what is stored: a row's
 * time is also its place. So no entry may have a time of its own before that of the entry above it. They stay within an
 * hour of the database's clock, whatever the agent believes.
 */
export async function storeConsole(db: Database, piece: ConsolePiece): Promise<StoreResult> {
  const { server_id, run_id, from, to, at_ms, entries } = piece;
  const json = toJson(entries);
  const newest_ms = entries.at(-1)?.at_ms ?? at_ms;
  try {
    const stored = await row<{ head: number | null }>(
      db,
      `WITH floor AS (
         SELECT (SELECT max(last_at) FROM log_cursors WHERE server_id = $1) AS at
       ), moved AS (
         INSERT INTO log_cursors AS c (server_id, run_id, byte_offset, last_at)
         SELECT $1, $2, $4, greatest(floor.at, ${timeWithin('$8')}) + $5 * interval '1 microsecond' FROM floor
         WHERE $3 = 0 OR EXISTS (SELECT FROM log_cursors WHERE server_id = $1 AND run_id = $2)
         ON CONFLICT (server_id, run_id) DO UPDATE SET byte_offset = EXCLUDED.byte_offset, last_at = EXCLUDED.last_at
         WHERE c.byte_offset = $3
         RETURNING last_at
       ), written AS (
         INSERT INTO logs (server_id, "timestamp", level, source, message, exception, stack_trace, run_id, byte_offset)
         SELECT $1, greatest(floor.at, ${timeWithin('coalesce(at_ms, $6)')}) + nth * interval '1 microsecond', level, source, message, exception, stack_trace, $2, $4
         FROM moved, floor, ROWS FROM (
           json_to_recordset($7::json)
             AS (level text, source text, message text, exception text, stack_trace text, at_ms double precision)
         ) WITH ORDINALITY AS entry (level, source, message, exception, stack_trace, at_ms, nth)
         ORDER BY nth
       )
       SELECT CASE WHEN $5 > 0 THEN (extract(epoch FROM last_at) * 1000000)::bigint END AS head FROM moved`,
      { bind: [server_id, run_id, from, to, entries.length, at_ms, json, newest_ms] },
    );
    if (stored) return { outcome: 'stored', head: stored.head };
  } catch (error) {
    if (sqlState(error) === FOREIGN_KEY_VIOLATION) return { outcome: 'gone' };
    throw translate(error);
  }
  const now = await row<ConsolePosition>(
    db,
    'SELECT run_id, byte_offset FROM log_cursors WHERE server_id = $1 AND run_id = $2',
    { bind: [server_id, run_id] },
  );
  return { outcome: 'elsewhere', byte_offset: now?.byte_offset ?? 0 };
}

/** PostgreSQL's text holds no NUL and no half of a surrogate pair; hardly any console does. */
function toJson(entries: readonly ConsoleEntry[]): string {
  const json = JSON.stringify(entries);
  if (!/\\u(?:0000|d[89a-f])/.test(json)) return json;
  return JSON.stringify(entries, (_key, value: unknown) =>
    typeof value === 'string' ? Buffer.from(value.replaceAll('\0', '')).toString() : value,
  );
}

/** Where to go on with every server of an agent; null for one whose console was never read. */
export async function readPositions(
  db: Database,
  agentId: string,
): Promise<Map<string, ConsolePosition | null>> {
  const found = await rows<{ id: string; run_id: string | null; byte_offset: number | null }>(
    db,
    `SELECT s.id, c.run_id, c.byte_offset
     FROM servers s LEFT JOIN LATERAL
       (SELECT run_id, byte_offset FROM log_cursors WHERE server_id = s.id
        ORDER BY last_at DESC NULLS LAST, updated_at DESC LIMIT 1) c ON true
     WHERE s.agent_id = $1`,
    { bind: [agentId] },
  );
  return new Map(
    found.map(({ id, run_id, byte_offset }) => [
      id,
      run_id === null || byte_offset === null ? null : { run_id, byte_offset },
    ]),
  );
}

export interface LogQuery {
  before?: number;
  after?: number;
  level?: LogRow['level'];
  /** Plain text, anywhere in message or stack trace, whatever its case. */
  text?: string;
  limit: number;
}

/**
 * A page of a server's history, oldest first: the newest `limit`, the newest before a place, or the oldest after one.
 */
export async function readLogs(db: Database, serverId: string, query: LogQuery): Promise<PlacedLog[]> {
  const { before, after, level, text, limit } = query;
  const bind: unknown[] = [serverId, limit];
  const conditions = ['server_id = $1'];
  const where = (condition: (place: string) => string, value: unknown) => {
    bind.push(value);
    conditions.push(condition(`$${bind.length}`));
  };
  if (before !== undefined) where(place => `"timestamp" < ${timeOf(place)}`, before);
  if (after !== undefined) where(place => `"timestamp" > ${timeOf(place)}`, after);
  if (level !== undefined) where(value => `level = ${value}`, level);
  if (text !== undefined) {
    where(
      value => `(message ILIKE ${value} OR stack_trace ILIKE ${value})`,
      `%${text.replace(/[\\%_]/g, '\\$&')}%`,
    );
  }
  const order = after === undefined ? 'DESC' : 'ASC';
  const found = await rows<PlacedLog>(
    db,
    `SELECT *, ${PLACE} AS place FROM logs WHERE ${conditions.join(' AND ')} ORDER BY "timestamp" ${order} LIMIT $2`,
    { bind },
  );
  return after === undefined ? found.reverse() : found;
}

/** Counting more than these is not worth the time. */
const COUNTED_LINES_MAX = 100_000;

export interface LogGap {
  /** Place of the last line in it. */
  end: number;
  dropped: number;
  /** Set when there are more than were counted. */
  at_least?: true;
}

/** What lies between a place and the newest `keep` lines; null when no more than `unless` lines follow the place. */
export async function findLogGap(
  db: Database,
  serverId: string,
  { after, keep, unless }: { after: number; keep: number; unless: number },
): Promise<LogGap | null> {
  const following = `FROM logs WHERE server_id = $1 AND "timestamp" > ${timeOf('$2')}`;
  const gap = await row<{ end: number; dropped: number }>(
    db,
    `SELECT ${PLACE} AS end,
       (SELECT count(*) FROM (SELECT ${following} AND "timestamp" <= last."timestamp" LIMIT ${COUNTED_LINES_MAX + 1}) AS counted) AS dropped
     FROM (SELECT "timestamp" ${following} ORDER BY "timestamp" DESC OFFSET $3 LIMIT 1) AS last
     WHERE EXISTS (SELECT ${following} OFFSET $4 LIMIT 1)`,
    { bind: [serverId, after, keep, unless] },
  );
  if (!gap) return null;
  if (gap.dropped <= COUNTED_LINES_MAX) return gap;
  return { end: gap.end, dropped: COUNTED_LINES_MAX, at_least: true };
}

export function viewLog(log: PlacedLog): LogEntryView {
  const { id, server_id, timestamp, level, source, message, exception, stack_trace } = log;
  return {
    id,
    cursor: encodeCursor(log.place),
    server_id,
    timestamp: timestamp.toISOString(),
    level,
    source: source ?? '',
    message,
    exception,
    stack_trace,
  };
}

/** Places of the newest rows; 0 for a server that has none. */
export async function readLogHeads(db: Database, serverIds: readonly string[]): Promise<Map<string, number>> {
  const found = await rows<{ id: string; head: number }>(
    db,
    `SELECT s.id, coalesce((SELECT (extract(epoch FROM max(last_at)) * 1000000)::bigint
                            FROM log_cursors WHERE server_id = s.id), 0) AS head
     FROM unnest($1::uuid[]) AS s (id)`,
    { bind: [serverIds] },
  );
  return new Map(found.map(({ id, head }) => [id, head]));
}
