import type { Transaction } from 'sequelize';
import type { OperationView } from '#src/contracts/operation.js';
import { AppError, ERRORS, type ErrorCode } from '#src/domain/errors.js';
import { hasEnded, type EndedState } from '#src/domain/operation.js';
import type { Database } from './connect.js';
import { recordFailedRestart } from './crashes.js';
import { appendEvent } from './events.js';
import { viewOperation } from './operationQueries.js';
import { SENDER_HAS } from './outbox.js';
import { inTransaction, row } from './sql.js';
import type { OperationRow, ServerRow } from './types.js';

export interface Locked {
  op: OperationRow;
  /** Null once it is gone; operations outlive it. */
  server: ServerRow | null;
}

/** Locks an operation for a change, its server's row first: everything that touches both takes them in that order. */
export async function lockOperation(db: Database, transaction: Transaction, id: string): Promise<Locked> {
  const server = await row<ServerRow>(
    db,
    `SELECT * FROM servers WHERE id = (SELECT server_id FROM operations WHERE id = $1) FOR NO KEY UPDATE`,
    { bind: [id], transaction },
  );
  const op = await row<OperationRow>(db, 'SELECT * FROM operations WHERE id = $1 FOR NO KEY UPDATE', {
    bind: [id],
    transaction,
  });
  if (!op) throw new AppError('not-found', { detail: 'There is no such operation' });
  return { op, server: server ?? null };
}

export interface Ending {
  state: EndedState | 'needs_operator';
  error?: { code: ErrorCode; detail: string };
  /** The server's row goes with its delete operation, after the last event has its number. */
  deleteServer?: boolean;
}

export interface Ended {
  operation: OperationView;
  /** The next of the server's queue, now current and waiting in the outbox. */
  outbox: string[];
  /** Users who have a new alert. */
  told: string[];
}

/**
 * The one way an operation ends (or comes to rest): outcome, event and hand-over of the server in one transaction.
 * Idempotent: an operation that has ended keeps its first end. Accepts one that never began, since a cancel can land
 * before the first step.
 */
export async function finishOperation(db: Database, id: string, ending: Ending): Promise<Ended> {
  return inTransaction(db, async transaction => {
    const { op } = await lockOperation(db, transaction, id);
    if (hasEnded(op.state)) return { operation: viewOperation(op), outbox: [], told: [] };
    const takenOver = op.superseded_by !== null && !(await isCurrent(db, transaction, op));
    return endLocked(db, transaction, op, takenOver ? { state: 'cancelled' } : ending);
  });
}

/**
 * A kill takes the server from the operation that holds it. Whatever that one still reports (a stop that "succeeded"
 * because the process was killed), it ends as superseded.
 */
async function isCurrent(db: Database, transaction: Transaction, op: OperationRow): Promise<boolean> {
  const current = await row(db, 'SELECT id FROM servers WHERE current_op_id = $1', {
    bind: [op.id],
    transaction,
  });
  return current !== undefined;
}

async function endLocked(
  db: Database,
  transaction: Transaction,
  op: OperationRow,
  ending: Ending,
): Promise<Ended> {
  const resting = ending.state === 'needs_operator';
  const error = errorOf(op, ending);
  const ended = await row<OperationRow>(
    db,
    `UPDATE operations SET state = $2, error_code = $3, error_detail = $4, dispatch_after = NULL,
       finished_at = CASE WHEN $5::boolean THEN NULL ELSE now() END
     WHERE id = $1 RETURNING *`,
    {
      bind: [op.id, ending.state, error?.code ?? null, error?.detail.slice(0, 2000) ?? null, resting],
      transaction,
    },
  );
  if (!ended) throw new AppError('internal', { detail: 'The operation vanished while it was locked' });
  const data = {
    ...(error && { error }),
    ...(op.superseded_by !== null && { superseded_by: op.superseded_by }),
  };
  // An operation may rest more than once (each failed resolution), but it ends once.
  const key = resting ? `needs_operator:${op.event_seq}` : 'ended';
  await appendEvent(db, transaction, { operationId: op.id, key, type: ending.state, data });
  const outbox = resting ? [] : await handOver(db, transaction, op);
  const told = error && isFailedRestart(ended) ? await recordFailedRestart(db, transaction, op, error) : [];
  if (ending.deleteServer && op.server_id) {
    await row(db, 'DELETE FROM servers WHERE id = $1 RETURNING id', { bind: [op.server_id], transaction });
  }
  return { operation: viewOperation(ended), outbox, told };
}

/** Nobody but us waits for such a start: it is ours to try again. */
function isFailedRestart({ kind, trigger, state }: OperationRow): boolean {
  const failed = state === 'failed' || state === 'compensated';
  return kind === 'server.start' && trigger === 'reconcile' && failed;
}

function errorOf(op: OperationRow, ending: Ending): Ending['error'] {
  if (ending.state === 'cancelled') {
    const code = op.superseded_by === null ? 'cancelled' : 'superseded';
    return { code, detail: ERRORS[code].title };
  }
  return ending.error;
}

/** The server goes to the next that waits. Whoever is not the current one (a kill beside a backup) hands over nothing. */
async function handOver(db: Database, transaction: Transaction, op: OperationRow): Promise<string[]> {
  if (!op.server_id) return [];
  const next = await row<{ current_op_id: string | null }>(
    db,
    `UPDATE servers SET current_op_id = (
       SELECT id FROM operations WHERE server_id = $1 AND state = 'accepted' ORDER BY op_seq LIMIT 1
     ) WHERE id = $1 AND (current_op_id = $2 OR current_op_id IS NULL) RETURNING current_op_id`,
    { bind: [op.server_id, op.id], transaction },
  );
  if (!next?.current_op_id) return [];
  await row(db, `UPDATE operations SET dispatch_after = now() + ${SENDER_HAS} WHERE id = $1 RETURNING id`, {
    bind: [next.current_op_id],
    transaction,
  });
  return [next.current_op_id];
}

export interface CancelReason {
  /** Event key, so that a retried transaction adds nothing. */
  key: string;
  /** The operation that takes its place; absent for a user's cancel. */
  supersededBy?: string;
}

/** Ends an operation that no workflow has begun. Its server's row is locked by the caller. */
export async function endUnbegun(
  db: Database,
  transaction: Transaction,
  id: string,
  reason: CancelReason,
): Promise<Ended> {
  const op = await row<OperationRow>(
    db,
    `UPDATE operations SET superseded_by = coalesce(superseded_by, $2)
     WHERE id = $1 AND state = 'accepted' RETURNING *`,
    { bind: [id, reason.supersededBy ?? null], transaction },
  );
  if (!op) throw new AppError('internal', { detail: 'An operation that was to end unbegun had begun' });
  return endLocked(db, transaction, op, { state: 'cancelled' });
}

/**
 * Asks an operation to end: one that has not begun ends here, one that has goes to the outbox, so that its workflow
 * is told even if this process dies. Its server's row is locked by the caller. Asking twice changes nothing.
 */
export async function requestCancel(
  db: Database,
  transaction: Transaction,
  id: string,
  reason: CancelReason,
): Promise<Ended> {
  const { op } = await lockOperation(db, transaction, id);
  if (hasEnded(op.state)) throw new AppError('operation-finished', { detail: `It has ${op.state}` });
  if (op.state === 'needs_operator') {
    throw new AppError('needs-operator', { detail: 'It can be resolved, not cancelled' });
  }
  if (op.state === 'accepted') return endUnbegun(db, transaction, id, reason);
  if (op.cancel_requested_at && (op.superseded_by !== null || !reason.supersededBy)) {
    return { operation: viewOperation(op), outbox: [], told: [] };
  }
  const cancelling = await row<OperationRow>(
    db,
    `UPDATE operations SET cancel_requested_at = coalesce(cancel_requested_at, now()),
       superseded_by = coalesce(superseded_by, $2), dispatch_after = now() + ${SENDER_HAS}
     WHERE id = $1 RETURNING *`,
    { bind: [id, reason.supersededBy ?? null], transaction },
  );
  await appendEvent(db, transaction, {
    operationId: id,
    key: reason.key,
    type: 'cancel_requested',
    data: reason.supersededBy ? { superseded_by: reason.supersededBy } : {},
  });
  return { operation: viewOperation(cancelling ?? op), outbox: [id], told: [] };
}

/** A user's cancel. Rejects with `not-found`, `operation-finished`, `needs-operator`. */
export async function cancelOperation(db: Database, id: string): Promise<Ended> {
  return inTransaction(db, transaction => requestCancel(db, transaction, id, { key: 'cancel' }));
}
