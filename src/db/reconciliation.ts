import type { Transaction } from 'sequelize';
import { AppError } from '#src/domain/errors.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { AgentRow, OperationRow, ServerRow } from './types.js';

/** Crashes older than this are forgiven. */
const CRASH_WINDOW = '10 minutes';

export type IdleServer = ServerRow & { crashes: number };

/**
 * Servers of an agent that no operation is working on, with their crashes of the present window; all of them, or those
 * among the given ones.
 */
export async function listIdleServers(
  db: Database,
  agentId: string,
  among?: readonly string[],
): Promise<IdleServer[]> {
  if (among?.length === 0) return [];
  return rows<IdleServer>(
    db,
    `SELECT *, CASE WHEN crash_window_started_at > now() - interval '${CRASH_WINDOW}' THEN crash_count ELSE 0 END AS crashes
     FROM servers WHERE agent_id = $1 AND current_op_id IS NULL AND ($2::text[] IS NULL OR id::text = ANY($2::text[]))`,
    { bind: [agentId, among ?? null] },
  );
}

export async function listAgents(db: Database): Promise<AgentRow[]> {
  return rows<AgentRow>(db, 'SELECT * FROM agents ORDER BY id');
}

/**
 * Runs first in a correction's accept transaction: locks the server and lets the correction through only if nothing
 * has been asked of it since it was looked at. Otherwise a start that was right a moment ago would queue behind the
 * stop that a user has sent meanwhile. Rejects with `stale-write`.
 */
export async function confirmUnchanged(
  db: Database,
  transaction: Transaction,
  server: { id: string; op_seq: number },
  isCrash: boolean,
): Promise<void> {
  const now = await row<{ op_seq: number }>(
    db,
    'SELECT op_seq FROM servers WHERE id = $1 FOR NO KEY UPDATE',
    {
      bind: [server.id],
      transaction,
    },
  );
  if (now?.op_seq !== server.op_seq) throw new AppError('stale-write');
  if (!isCrash) return;
  await row(
    db,
    `UPDATE servers SET
       crash_count = CASE WHEN crash_window_started_at > now() - interval '${CRASH_WINDOW}' THEN crash_count + 1 ELSE 1 END,
       crash_window_started_at = CASE WHEN crash_window_started_at > now() - interval '${CRASH_WINDOW}'
                                 THEN crash_window_started_at ELSE now() END
     WHERE id = $1 RETURNING id`,
    { bind: [server.id], transaction },
  );
}

/** Operations that a workflow should be carrying right now. A fresh one gets the time to show up. */
export async function listCarried(db: Database, olderThanMs: number): Promise<OperationRow[]> {
  return rows<OperationRow>(
    db,
    `SELECT * FROM operations
     WHERE (state = 'running' OR (state = 'accepted' AND dispatch_after IS NULL
            AND EXISTS (SELECT 1 FROM servers s WHERE s.current_op_id = operations.id)))
       AND coalesce(started_at, created_at) < now() - $1 * interval '1 millisecond'
     ORDER BY created_at LIMIT 1000`,
    { bind: [olderThanMs] },
  );
}

/** An accepted operation whose start got lost goes out again. */
export async function dispatchAgain(db: Database, operationId: string): Promise<void> {
  await row(
    db,
    `UPDATE operations SET dispatch_after = now() WHERE id = $1 AND state = 'accepted' RETURNING id`,
    {
      bind: [operationId],
    },
  );
}
