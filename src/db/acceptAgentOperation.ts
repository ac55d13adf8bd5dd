import { randomUUID } from 'node:crypto';
import { AppError } from '#src/domain/errors.js';
import { type Acceptance, insertOperation, type OperationRecord, replay } from './acceptOperation.js';
import type { Database } from './connect.js';
import { appendEvent } from './events.js';
import { viewOperation } from './operationQueries.js';
import { SENDER_HAS } from './outbox.js';
import { inTransaction, row } from './sql.js';
import type { OperationRow } from './types.js';

/** An operation of an agent itself. */
export type NewAgentOperation = Omit<OperationRecord, 'serverId' | 'agentId'> & { agentId: string };

/**
 * As acceptOperation, for what concerns no server: it waits for nobody, the agent does one after the other. The agent's
 * row is locked, so that it can't be deleted meanwhile. Rejects with `not-found`, `idempotency-key-reused`.
 */
export async function acceptAgentOperation(db: Database, incoming: NewAgentOperation): Promise<Acceptance> {
  return inTransaction(db, async transaction => {
    const id = randomUUID();
    const record = { ...incoming, serverId: null };
    if (!(await insertOperation(db, transaction, id, record))) return replay(db, transaction, record);
    const agent = await row(db, 'SELECT id FROM agents WHERE id = $1 FOR KEY SHARE', {
      bind: [incoming.agentId],
      transaction,
    });
    if (!agent) throw new AppError('not-found', { detail: 'There is no such agent' });
    await incoming.prepare?.(transaction);
    const op = await row<OperationRow>(
      db,
      `UPDATE operations SET dispatch_after = now() + ${SENDER_HAS} WHERE id = $1 RETURNING *`,
      { bind: [id], transaction },
    );
    if (!op) throw new AppError('internal', { detail: 'The operation vanished in its own transaction' });
    await appendEvent(db, transaction, { operationId: id, key: 'accepted', type: 'accepted' });
    return { replayed: false, operation: viewOperation(op), outbox: [id] };
  });
}
