import type { Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { row } from './sql.js';

/** Ours among the advisory locks of the database: "AYMC" in ASCII. */
const NAMESPACE = 0x41594d43;

/** What only one process may do at a time, and has no row to lock for. */
const JOBS = { migrate: 1, ensurePartitions: 2, seed: 3, dropPartition: 4 } as const;

/** Waits until no other process does this job; held until the transaction ends. */
export async function lockJob(db: Database, transaction: Transaction, job: keyof typeof JOBS): Promise<void> {
  await row(db, 'SELECT pg_advisory_xact_lock($1, $2)', { bind: [NAMESPACE, JOBS[job]], transaction });
}
