import type { OperationView } from '#src/contracts/operation.js';
import { AppError } from '#src/domain/errors.js';
import { hasEnded, type OperationProgress } from '#src/domain/operation.js';
import { nextStatus, type ServerEvent, type ServerStatus } from '#src/domain/serverState.js';
import type { Database } from './connect.js';
import { lockOperation } from './endOperation.js';
import { appendEvent, hasEvent } from './events.js';
import { viewOperation } from './operationQueries.js';
import { inTransaction, row } from './sql.js';
import type { OperationRow, ServerRow } from './types.js';

export interface Beginning {
  /** False: it has ended, or another run carries it. The workflow leaves without touching anything. */
  begun: boolean;
  operation: OperationView;
}

/**
 * accepted → running, for the workflow run that comes first. The same run may ask again (its own retry); a second run
 * of the same workflow id may not: with REJECT_DUPLICATE there is none, unless someone reset the workflow.
 */
export async function beginOperation(db: Database, id: string, runId: string): Promise<Beginning> {
  return inTransaction(db, async transaction => {
    const { op } = await lockOperation(db, transaction, id);
    if (hasEnded(op.state)) return { begun: false, operation: viewOperation(op) };
    if (op.state !== 'accepted') return { begun: op.run_id === runId, operation: viewOperation(op) };
    const begun = await row<OperationRow>(
      db,
      `UPDATE operations SET state = 'running', run_id = $2, started_at = now(), dispatch_after = NULL
       WHERE id = $1 RETURNING *`,
      { bind: [id, runId], transaction },
    );
    await appendEvent(db, transaction, { operationId: id, key: 'started', type: 'started' });
    return { begun: true, operation: viewOperation(begun ?? op) };
  });
}

export interface Transition {
  operationId: string;
  /** Counts up within the operation; with its op_seq it fences older writers off. */
  step: number;
  event: ServerEvent;
  /** Why, for people. */
  reason?: string;
}

export interface Moved {
  status: ServerStatus;
  serverId: string | null;
}

/**
 * Moves the server's status by one event of its operation. The guard on `(op_seq, step)` refuses whoever is late
 * (`stale-write`): a worker that was stopped for a minute cannot undo what was decided meanwhile.
 *
 * Idempotent, also for steps that are not the latest and for operations that have ended: Temporal knows of a local
 * activity only when its workflow task completes. A worker that dies (or is too slow) after several of them loses the
 * record of all, and all are done again. Were one of these refused, the workflow would undo what it has just done.
 */
export async function transitionServer(db: Database, move: Transition): Promise<Moved> {
  return inTransaction(db, async transaction => {
    const { op, server } = await lockOperation(db, transaction, move.operationId);
    const at = (status: ServerStatus): Moved => ({ status, serverId: op.server_id });
    // The end is a workflow's last step, so whatever it asks for after it was done before it.
    if (hasEnded(op.state) && op.error_code !== 'lost-workflow') return at(server?.status ?? 'stopped');
    if (hasEnded(op.state)) throw new AppError('stale-write', { detail: 'The operation was closed' });
    if (!server) throw new AppError('not-found', { detail: 'The server is gone' });
    const isBeside = isBesideCurrent(op, server);
    const opSeq = isBeside ? server.status_op_seq : (op.op_seq ?? 0);
    const step = isBeside ? server.status_step : move.step;
    if (server.status_op_seq > opSeq) {
      throw new AppError('stale-write', { detail: 'A newer operation has written' });
    }
    const isRepeat = isBeside
      ? await hasEvent(db, transaction, op.id, keyOfMove(move))
      : server.status_op_seq === opSeq && server.status_step >= step;
    if (isRepeat) return at(server.status);
    const status = nextStatus(server.status, move.event);
    await row(
      db,
      `UPDATE servers SET status = $2::text, status_op_seq = $3, status_step = $4, updated_at = now(),
         last_started = CASE WHEN $2::text = 'running' AND status <> 'running' THEN now() ELSE last_started END,
         restart_after = CASE WHEN $2::text = 'running' THEN NULL ELSE restart_after END,
         last_stopped = CASE WHEN $2::text IN ('stopped', 'error') AND status NOT IN ('stopped', 'error') THEN now()
                        ELSE last_stopped END
       WHERE id = $1 RETURNING id`,
      { bind: [server.id, status, opSeq, step], transaction },
    );
    if (status !== server.status) {
      await appendEvent(db, transaction, {
        operationId: op.id,
        key: keyOfMove(move),
        type: 'status_changed',
        data: { status, previous_status: server.status, ...(move.reason && { reason: move.reason }) },
      });
    }
    return at(status);
  });
}

/** A kill in the middle of an operation that goes on: it says what has become of the process, and takes nobody's turn. */
export function isBesideCurrent(op: OperationRow, { current_op_id }: ServerRow): boolean {
  return op.kind === 'server.kill' && current_op_id !== null && current_op_id !== op.id;
}

function keyOfMove({ step }: Transition): string {
  return `status:${step}`;
}

/** Marks the artefact as in place; from here on the server can be started. Idempotent. */
export async function markInstalled(db: Database, serverId: string): Promise<void> {
  await row(db, 'UPDATE servers SET installed = true, updated_at = now() WHERE id = $1 RETURNING id', {
    bind: [serverId],
  });
}

/** Shows how far it is. A late report of an operation that has ended changes nothing. */
export async function reportProgress(
  db: Database,
  id: string,
  key: string,
  progress: OperationProgress,
): Promise<void> {
  await inTransaction(db, async transaction => {
    const { op } = await lockOperation(db, transaction, id);
    if (op.state !== 'running') return;
    await row(db, 'UPDATE operations SET progress = $2::jsonb WHERE id = $1 RETURNING id', {
      bind: [id, JSON.stringify(progress)],
      transaction,
    });
    await appendEvent(db, transaction, { operationId: id, key, type: 'progressed', data: { progress } });
  });
}

/** Records that a step was undone. Idempotent by the step's name. */
export async function noteUndone(db: Database, id: string, step: string): Promise<void> {
  await inTransaction(db, async transaction => {
    const { op } = await lockOperation(db, transaction, id);
    if (hasEnded(op.state)) return;
    await appendEvent(db, transaction, {
      operationId: id,
      key: `undone:${step}`,
      type: 'undone',
      data: { reason: step },
    });
  });
}
