import type { Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { lockJob } from './locks.js';
import { inTransaction, row, rows } from './sql.js';

export const PARTITIONED_TABLES = ['logs', 'server_metrics', 'agent_metrics'] as const;
export type PartitionedTable = (typeof PARTITIONED_TABLES)[number];

interface Day {
  parent: PartitionedTable;
  /** e.g. `logs_20250131`. */
  name: string;
  /** ISO dates; the day is a UTC day, as the database counts it: hosts may disagree about today. */
  first: string;
  next: string;
}

/**
 * Makes the day partitions from today to `days` days ahead; called when migrating, by every worker that starts and by
 * its daily schedule. Idempotent, and safe in several processes at once. Answers the names of what was made.
 */
export async function ensurePartitions(db: Database, days = 7): Promise<string[]> {
  if ((await missingDays(db, days)).length === 0) return [];
  return inTransaction(db, async transaction => {
    await lockJob(db, transaction, 'ensurePartitions');
    const missing = await missingDays(db, days, transaction);
    for (const day of missing) await createPartition(db, transaction, day);
    return missing.map(day => day.name);
  });
}

/** Not by to_regclass, whose cache may not know yet what the process before us has made. */
function missingDays(db: Database, days: number, transaction?: Transaction): Promise<Day[]> {
  return rows<Day>(
    db,
    `SELECT parent, name, first::text, (first + 1)::text AS next
     FROM unnest($1::text[]) AS parent,
       generate_series(0, $2::integer) AS ahead,
       LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS first) AS day,
       LATERAL (SELECT parent || to_char(first, '_YYYYMMDD') AS name) AS partition
     WHERE NOT EXISTS (SELECT FROM pg_class WHERE relname = name AND relnamespace = 'public'::regnamespace)
     ORDER BY parent, first`,
    { bind: [PARTITIONED_TABLES, days], transaction },
  );
}

/**
 * Built aside and then attached: CREATE … PARTITION OF would lock the whole table against readers, ATTACH only the
 * DEFAULT partition. Rows of that day which already lie there (no partition was made in time) move over; taking the
 * lock first keeps new ones from arriving in between, which would make ATTACH fail.
 */
async function createPartition(db: Database, transaction: Transaction, day: Day): Promise<void> {
  const { parent, name, first, next } = day;
  const from = `'${first} 00:00:00+00'`;
  const to = `'${next} 00:00:00+00'`;
  const statements = [
    `LOCK TABLE ${parent}_default IN ACCESS EXCLUSIVE MODE`,
    `CREATE TABLE ${name} (LIKE ${parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
    `WITH late AS (
       DELETE FROM ${parent}_default WHERE "timestamp" >= ${from} AND "timestamp" < ${to} RETURNING *
     ) INSERT INTO ${name} SELECT * FROM late`,
    `ALTER TABLE ${parent} ATTACH PARTITION ${name} FOR VALUES FROM (${from}) TO (${to})`,
  ];
  for (const statement of statements) await row(db, statement, { transaction });
}
