import { WorkflowNotFoundError, type WorkflowClient } from '@temporalio/client';
import { operationIdOf, operationWorkflowId, SEARCH_ATTRIBUTES } from '#src/contracts/temporal.js';
import { finishOperation } from '#src/db/endOperation.js';
import { dispatchAgain, listWithoutRow } from '#src/db/reconciliation.js';
import type { OperationRow } from '#src/db/types.js';
import type { ReconcileDeps } from './reconcileDeps.js';

const RPC_DEADLINE_MS = 5_000;
/** Of the workflows under way, so many are looked at in a round. */
const MAX_WORKFLOWS = 5_000;

/**
 * A row says that a workflow carries it and there is none: someone terminated it, or Temporal lost its data. The row
 * ends here; what the server really does is found out by comparing with its agent. Answers whether it has ended.
 */
export async function closeIfLost(deps: ReconcileDeps, op: OperationRow): Promise<boolean> {
  const fate = await fateOfWorkflow(deps, op);
  if (fate === 'alive') return false;
  if (fate === 'unknown' && op.state === 'accepted') {
    await dispatchAgain(deps.db, op.id);
    deps.bus.publish('dispatch', {});
    return false;
  }
  const detail = fate === 'unknown' ? 'Temporal does not know it' : `It was ${fate} from outside`;
  const { operation, outbox, told } = await finishOperation(deps.db, op.id, {
    state: 'failed',
    error: { code: 'lost-workflow', detail },
  });
  deps.logger.warn({ operation: op.id, fate }, 'closed an operation whose workflow is gone');
  deps.bus.publish('operation-events', { operation_id: op.id, server_id: operation.server_id });
  for (const user_id of told) deps.bus.publish('notifications', { user_id });
  await deps.sendNow(outbox);
  return true;
}

async function fateOfWorkflow(deps: ReconcileDeps, op: OperationRow): Promise<string> {
  const client = await deps.temporal();
  try {
    const { status } = await client.connection.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
      client.getHandle(operationWorkflowId(op.id)).describe(),
    );
    return status.name === 'RUNNING' ? 'alive' : status.name.toLowerCase();
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'unknown';
    throw error;
  }
}

/**
 * Workflows under way whose operation has no row: the database was restored to before it was accepted. Each ends by
 * itself, without effect, at its next step in the database; here it becomes visible. Answers how many there are.
 */
export async function reportOrphans({
  temporal,
  db,
  logger,
}: Pick<ReconcileDeps, 'temporal' | 'db' | 'logger'>): Promise<number> {
  const client = await temporal();
  const underWay = await client.connection.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
    listUnderWay(client),
  );
  const orphans = await listWithoutRow(db, underWay);
  if (orphans.length > 0) {
    logger.error({ operations: orphans.slice(0, 20), count: orphans.length }, 'workflows without a row');
  }
  return orphans.length;
}

async function listUnderWay(client: WorkflowClient): Promise<string[]> {
  const query = `ExecutionStatus = "Running" AND ${SEARCH_ATTRIBUTES.kind} IS NOT NULL`;
  const ids: string[] = [];
  for await (const { workflowId } of client.list({ query })) {
    const id = operationIdOf(workflowId);
    if (id !== null) ids.push(id);
    if (ids.length === MAX_WORKFLOWS) break;
  }
  return ids;
}
