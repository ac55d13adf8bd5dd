import type { Database } from './connect.js';
import type { PartitionedTable } from './ensurePartitions.js';
import { sqlState } from './errors.js';
import { lockJob } from './locks.js';
import { inTransaction, row, rows } from './sql.js';

/** Rows that one statement deletes: a fraction of a second. */
const BATCH_ROWS = 10_000;
/** Whoever waits for a table's lock makes everyone wait who comes after; so nobody does for longer than this. */
const LOCK_TIMEOUT_MS = 500;
const LOCK_NOT_AVAILABLE = '55P03';

export interface DayPartition {
  parent: PartitionedTable;
  /** e.g. `logs_20250131`. */
  name: string;
}

/** Day partitions of a table whose last moment is older than `keepMs`, by the database's clock and in UTC; oldest first. */
export function listAgedPartitions(
  db: Database,
  parent: PartitionedTable,
  keepMs: number,
): Promise<DayPartition[]> {
  return rows<DayPartition>(
    db,
    `SELECT $1::text AS parent, c.relname AS name
     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = $1::text::regclass AND c.relname ~ ('^' || $1::text || '_\\d{8}$')
       AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (now() - $2 * interval '1 millisecond') AT TIME ZONE 'UTC'
     ORDER BY c.relname`,
    { bind: [parent, keepMs] },
  );
}

/** Idempotent. Answers false when someone reads the table for so long that we did not get it; try again later. */
export async function dropPartition(db: Database, { name }: DayPartition): Promise<boolean> {
  try {
    await inTransaction(db, async transaction => {
      await row(db, `SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`, { transaction });
      await lockJob(db, transaction, 'dropPartition');
      await row(db, `DROP TABLE IF EXISTS ${name}`, { transaction });
    });
    return true;
  } catch (error) {
    if (sqlState(error) === LOCK_NOT_AVAILABLE) return false;
    throw error;
  }
}

/** What no day was made for, and is older than `keepMs` by now. Answers how many rows went; a full batch = more are left. */
export function deleteAgedRows(db: Database, parent: PartitionedTable, keepMs: number): Promise<Batch> {
  return deleteBatch(db, `${parent}_default`, `"timestamp" < now() - $1 * interval '1 millisecond'`, [
    keepMs,
  ]);
}

/**
 * Cursors of runs that have printed nothing for `keepMs`: their lines are gone. Never a server's newest, which says
 * where to go on.
 */
export function deleteAgedCursors(db: Database, keepMs: number): Promise<Batch> {
  return deleteBatch(
    db,
    'log_cursors',
    `coalesce(last_at, updated_at) < now() - $1 * interval '1 millisecond' AND EXISTS (
       SELECT FROM log_cursors newer WHERE newer.server_id = log_cursors.server_id
         AND newer.last_at > coalesce(log_cursors.last_at, '-infinity'))`,
    [keepMs],
  );
}

/** Read or not. */
export function deleteAgedNotifications(db: Database, keepMs: number): Promise<Batch> {
  return deleteBatch(db, 'notifications', `created_at < now() - $1 * interval '1 millisecond'`, [keepMs]);
}

export function deleteAgedAudit(db: Database, keepMs: number): Promise<Batch> {
  return deleteBatch(db, 'audit_log', `at < now() - $1 * interval '1 millisecond'`, [keepMs]);
}

/** All partitions that may hold rows of a server. */
export function listServerPartitions(db: Database): Promise<DayPartition[]> {
  return rows<DayPartition>(
    db,
    `SELECT inhparent::regclass::text AS parent, inhrelid::regclass::text AS name FROM pg_inherits
     WHERE inhparent = ANY(ARRAY['logs', 'server_metrics']::regclass[]) ORDER BY name`,
  );
}

/** Some of a server's rows of one partition. A partition that was dropped meanwhile has none. */
export async function deleteServerRows(
  db: Database,
  { name }: DayPartition,
  serverId: string,
): Promise<Batch> {
  const exists = await row(db, 'SELECT FROM pg_class WHERE oid = to_regclass($1)', { bind: [name] });
  return exists ? deleteBatch(db, name, 'server_id = $1', [serverId]) : { deleted: 0, isLast: true };
}

export interface Batch {
  deleted: number;
  isLast: boolean;
}

async function deleteBatch(db: Database, table: string, where: string, bind: unknown[]): Promise<Batch> {
  const found = await row<{ deleted: number }>(
    db,
    `WITH gone AS (
       DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE ${where} LIMIT ${BATCH_ROWS})) RETURNING 1
     ) SELECT count(*) AS deleted FROM gone`,
    { bind },
  );
  const deleted = found?.deleted ?? 0;
  return { deleted, isLast: deleted < BATCH_ROWS };
}
