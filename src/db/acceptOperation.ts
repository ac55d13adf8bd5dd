import { randomUUID } from 'node:crypto';
import type { Transaction } from 'sequelize';
import { operationWorkflowId } from '#src/contracts/temporal.js';
import type { OperationView } from '#src/contracts/operation.js';
import { AppError, assertNever } from '#src/domain/errors.js';
import type { OperationKind, OperationTrigger } from '#src/domain/operation.js';
import { resolve, type PendingOperation, type Resolution } from '#src/domain/operationPolicy.js';
import type { DesiredState } from '#src/domain/serverState.js';
import type { Database } from './connect.js';
import { endUnbegun, requestCancel } from './endOperation.js';
import { appendEvent } from './events.js';
import { viewOperation } from './operationQueries.js';
import { SENDER_HAS } from './outbox.js';
import { inTransaction, row, rows } from './sql.js';
import type { OperationRow, ServerRow } from './types.js';

export interface NewOperation {
  kind: OperationKind;
  serverId: string;
  requestedBy: string | null;
  trigger: OperationTrigger;
  params: Record<string, unknown>;
  force: boolean;
  idempotencyKey: string | null;
  /** SHA-256 (hex) of what makes two requests the same. */
  requestHash: string;
  requestId: string | null;
  /** What the server shall be from now on; undefined leaves it. */
  desiredState?: DesiredState;
  /** For events that readers see, e.g. why the reconciler asked. */
  reason?: string;
  prepare?: (transaction: Transaction) => Promise<void>;
}

export interface Acceptance {
  operation: OperationView;
  /** True when the key was known: nothing was done. */
  replayed: boolean;
  /** Operations whose rows now wait in the outbox, to be sent after the commit. */
  outbox: string[];
}

/**
 * The promise: ONE transaction that inserts the operation, resolves it against those of its server that have not
 * ended, and queues what Temporal must be told. The server's row is the mutex of everything about its operations.
 * The same idempotency key with the same request answers the same operation; with another request it rejects.
 */
export async function acceptOperation(db: Database, incoming: NewOperation): Promise<Acceptance> {
  return inTransaction(db, async transaction => {
    const id = randomUUID();
    if (!(await insertOperation(db, transaction, id, incoming))) return replay(db, transaction, incoming);
    await incoming.prepare?.(transaction);

    const server = await lockServer(db, transaction, incoming);
    const pending = await listPending(db, transaction, id, server);
    const resolution = resolve(pending, { kind: incoming.kind, force: incoming.force });
    if (resolution.action === 'refuse') throw new AppError(resolution.code);
    const sentNow = resolution.action === 'run' || resolution.action === 'beside';
    const op = await numberOperation(db, transaction, id, server, sentNow);
    const reason = incoming.reason === undefined ? {} : { reason: incoming.reason };
    await appendEvent(db, transaction, { operationId: id, key: 'accepted', type: 'accepted', data: reason });
    return { replayed: false, ...(await carryOut(db, transaction, op, resolution)) };
  });
}

/** What both kinds of operations, a server's and an agent's, are inserted with. */
export type OperationRecord = Omit<NewOperation, 'serverId' | 'force' | 'desiredState' | 'reason'> & {
  serverId: string | null;
  /** Of a server's operation it is known once its row is locked. */
  agentId?: string;
};

/** Answers false when the key is known. */
export async function insertOperation(
  db: Database,
  transaction: Transaction,
  id: string,
  incoming: OperationRecord,
): Promise<boolean> {
  const inserted = await row<{ id: string }>(
    db,
    `INSERT INTO operations
       (id, kind, server_id, requested_by, trigger, params, idempotency_key, request_hash, request_id, workflow_id,
        agent_id)
     VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11)
     ON CONFLICT DO NOTHING RETURNING id`,
    {
      bind: [
        id,
        incoming.kind,
        incoming.serverId,
        incoming.requestedBy,
        incoming.trigger,
        JSON.stringify(incoming.params),
        incoming.idempotencyKey,
        incoming.requestHash,
        incoming.requestId,
        operationWorkflowId(id),
        incoming.agentId ?? null,
      ],
      transaction,
    },
  );
  return inserted !== undefined;
}

/** The operation that has the key already. */
export async function replay(
  db: Database,
  transaction: Transaction,
  incoming: OperationRecord,
): Promise<Acceptance> {
  const known = await row<OperationRow>(
    db,
    'SELECT * FROM operations WHERE requested_by IS NOT DISTINCT FROM $1 AND idempotency_key = $2',
    { bind: [incoming.requestedBy, incoming.idempotencyKey], transaction },
  );
  // The conflicting insert may have been rolled back between the two statements.
  if (!known)
    throw new AppError('internal', { detail: 'The first request with this key was just refused; try again' });
  if (known.request_hash !== incoming.requestHash) throw new AppError('idempotency-key-reused');
  return { operation: viewOperation(known), replayed: true, outbox: [] };
}

/**
 * Takes the mutex by taking the next number of the server, and gives the server the state that was asked for. A
 * statement of its own: the next one then sees all that whoever held the lock before has committed.
 *
 * Whoever asks for a state takes the place of the restart that a crash has planned, and whoever asks for `running`
 * gives it a fresh budget of crashes.
 */
async function lockServer(
  db: Database,
  transaction: Transaction,
  { kind, serverId, desiredState }: NewOperation,
): Promise<ServerRow> {
  const server = await row<ServerRow>(
    db,
    `UPDATE servers SET op_seq = op_seq + 1, desired_state = coalesce($2, desired_state), updated_at = now(),
       restart_after = CASE WHEN $2 IS NULL AND $3 <> 'server.start' THEN restart_after END,
       crash_count = CASE WHEN $2 = 'running' THEN 0 ELSE crash_count END
     WHERE id = $1 RETURNING *`,
    { bind: [serverId, desiredState ?? null, kind], transaction },
  );
  if (!server) throw new AppError('not-found', { detail: 'There is no such server' });
  return server;
}

/** The other operations of the server that have not ended, the current one first. */
async function listPending(
  db: Database,
  transaction: Transaction,
  id: string,
  server: ServerRow,
): Promise<PendingOperation[]> {
  const pending = await rows<OperationRow>(
    db,
    `SELECT * FROM operations
     WHERE server_id = $1 AND id <> $2 AND state IN ('accepted', 'running', 'needs_operator')
     ORDER BY id = $3 DESC NULLS LAST, op_seq`,
    { bind: [server.id, id, server.current_op_id], transaction },
  );
  return pending.map(op => ({
    id: op.id,
    kind: op.kind,
    cancelling: op.cancel_requested_at !== null,
    needsOperator: op.state === 'needs_operator',
  }));
}

/** Gives the operation its place among those of its server, and puts it into the outbox when it is its turn. */
async function numberOperation(
  db: Database,
  transaction: Transaction,
  id: string,
  server: ServerRow,
  sentNow: boolean,
): Promise<OperationRow> {
  const op = await row<OperationRow>(
    db,
    `UPDATE operations SET op_seq = $2, epoch = $3, agent_id = $4,
       dispatch_after = CASE WHEN $5::boolean THEN now() + ${SENDER_HAS} END
     WHERE id = $1 RETURNING *`,
    { bind: [id, server.op_seq, server.owner_epoch, server.agent_id, sentNow], transaction },
  );
  if (!op) throw new AppError('internal', { detail: 'The operation vanished in its own transaction' });
  return op;
}

/** Does what the policy said; the outbox holds the operations that Temporal must hear about. */
async function carryOut(
  db: Database,
  transaction: Transaction,
  op: OperationRow,
  resolution: Exclude<Resolution, { action: 'refuse' }>,
): Promise<Omit<Acceptance, 'replayed'>> {
  const operation = viewOperation(op);
  if (resolution.action === 'beside') return { operation, outbox: [op.id] };
  for (const withdrawn of resolution.supersede) {
    await endUnbegun(db, transaction, withdrawn, { key: `superseded:${op.id}`, supersededBy: op.id });
  }
  switch (resolution.action) {
    case 'coalesce':
      return endUnbegun(db, transaction, op.id, { key: 'coalesced', supersededBy: resolution.into });
    case 'run':
      await row(db, 'UPDATE servers SET current_op_id = $2 WHERE id = $1 RETURNING id', {
        bind: [op.server_id, op.id],
        transaction,
      });
      return { operation, outbox: [op.id, ...(await preempt(db, transaction, resolution.cancel, op.id))] };
    case 'queue':
      await appendEvent(db, transaction, { operationId: op.id, key: 'queued', type: 'queued' });
      return { operation, outbox: await preempt(db, transaction, resolution.cancel, op.id) };
    default:
      return assertNever(resolution);
  }
}

/** Tells the current operation to end, if that is what the policy said. */
async function preempt(
  db: Database,
  transaction: Transaction,
  id: string | null,
  by: string,
): Promise<string[]> {
  if (id === null) return [];
  const { outbox } = await requestCancel(db, transaction, id, { supersededBy: by, key: `superseded:${by}` });
  return outbox;
}
