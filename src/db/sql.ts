import { setTimeout as sleep } from 'node:timers/promises';
import { QueryTypes, type Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { sqlState, translate } from './errors.js';

export interface StatementOptions {
  /**
   * Values of `$1`, `$2`, … Objects are sent as JSON and arrays as PostgreSQL arrays, so a JSON array must be
   * stringified by the caller.
   */
  bind?: readonly unknown[];
  transaction?: Transaction | undefined;
}

/**
 * Runs one statement as it stands and answers its rows: for hot paths, and for what a model cannot say
 * (compare-and-set with RETURNING, CTEs, locks). `T` is the caller's promise about the columns.
 */
export async function rows<T extends object>(
  db: Database,
  sql: string,
  { bind = [], transaction }: StatementOptions = {},
): Promise<T[]> {
  return db.sequelize.query<T>(sql, {
    type: QueryTypes.SELECT,
    raw: true,
    bind: [...bind],
    ...(transaction && { transaction }),
  });
}

/** The first row, or undefined when there is none. */
export async function row<T extends object>(
  db: Database,
  sql: string,
  options: StatementOptions = {},
): Promise<T | undefined> {
  const [first] = await rows<T>(db, sql, options);
  return first;
}

const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';
const MAX_ATTEMPTS = 5;

/**
 * Runs `work` in one transaction (READ COMMITTED) and commits when it resolves, rolls back when it rejects. When
 * PostgreSQL chose it as the victim of a conflict it runs again, so it must do nothing but talk to the database.
 * It must not swallow the error of a statement either: PostgreSQL has given the transaction up by then, and would
 * answer the commit with a silent rollback.
 */
export async function inTransaction<T>(
  db: Database,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.sequelize.transaction(work);
    } catch (error) {
      const state = sqlState(error);
      const isVictim = state === SERIALIZATION_FAILURE || state === DEADLOCK_DETECTED;
      if (!isVictim || attempt === MAX_ATTEMPTS) throw translate(error);
      db.logger?.debug({ state, attempt }, 'transaction runs again after a conflict');
      await sleep(Math.random() * 20 * 2 ** attempt);
    }
  }
}
