import type { Transaction } from 'sequelize';
import { AppError } from '#src/domain/errors.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { AgentRow, OperationRow, ServerRow } from './types.js';

/** Servers of an agent: all of them, or those among the given ones. */
export async function listServersOf(
  db: Database,
  agentId: string,
  among?: readonly string[],
): Promise<ServerRow[]> {
  return rows<ServerRow>(
    db,
    `SELECT * FROM servers WHERE agent_id = $1 AND ($2::text[] IS NULL OR id::text = ANY($2::text[]))`,
    { bind: [agentId, among ?? null] },
  );
}

/** Those of the given ids that are servers of this agent. */
export async function listOwned(db: Database, agentId: string, ids: readonly string[]): Promise<Set<string>> {
  const owned = await rows<{ id: string }>(
    db,
    'SELECT id FROM servers WHERE agent_id = $1 AND id::text = ANY($2::text[])',
    { bind: [agentId, ids] },
  );
  return new Set(owned.map(({ id }) => id));
}

export async function listAgents(db: Database): Promise<AgentRow[]> {
  return rows<AgentRow>(db, 'SELECT * FROM agents ORDER BY id');
}

/**
 * A page of all agents. New ones join the last page; where one goes, the first of each later page moves to the page
 * before, and is followed from there.
 */
export async function listAgentsOfShard(db: Database, shard: number, size: number): Promise<AgentRow[]> {
  return rows<AgentRow>(db, 'SELECT * FROM agents ORDER BY created_at, id LIMIT $2 OFFSET $1::bigint * $2', {
    bind: [shard, size],
  });
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
}

/**
 * An agent refuses what is older than the highest numbers it has accepted. After a restore of the database ours may be
 * lower: they go on from the agent's. Answers the new row; undefined when ours are as high, as they always are but then.
 */
export async function raiseNumbers(
  db: Database,
  id: string,
  atAgent: { epoch: number; opSeq: number },
): Promise<ServerRow | undefined> {
  return row<ServerRow>(
    db,
    `UPDATE servers SET owner_epoch = greatest(owner_epoch, $2), op_seq = greatest(op_seq, $3)
     WHERE id = $1 AND current_op_id IS NULL AND (owner_epoch, op_seq) < ($2::bigint, $3::bigint) RETURNING *`,
    { bind: [id, atAgent.epoch, atAgent.opSeq] },
  );
}

/** Its agent has not (any more) what a start needs; unless something was asked of it since it was looked at. */
export async function markMissing(db: Database, server: { id: string; op_seq: number }): Promise<boolean> {
  const marked = await row(
    db,
    `UPDATE servers SET installed = false
     WHERE id = $1 AND op_seq = $2 AND current_op_id IS NULL AND installed RETURNING id`,
    { bind: [server.id, server.op_seq] },
  );
  return marked !== undefined;
}

/** Those of the given operations that have no row. */
export async function listWithoutRow(db: Database, operationIds: readonly string[]): Promise<string[]> {
  const missing = await rows<{ id: string }>(
    db,
    `SELECT o.id FROM unnest($1::text[]) AS o (id)
     WHERE NOT EXISTS (SELECT FROM operations WHERE operations.id::text = o.id)`,
    { bind: [operationIds] },
  );
  return missing.map(({ id }) => id);
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
