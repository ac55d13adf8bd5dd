import { Context } from '@temporalio/activity';
import type { WorkflowClient } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Logger } from 'pino';
import type { ServerState, ServerStates } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import type { ReconcileActivities } from '#src/contracts/activities.js';
import { operationWorkflowId } from '#src/contracts/temporal.js';
import type { Database } from '#src/db/connect.js';
import { finishOperation } from '#src/db/endOperation.js';
import { readLeaseStanding, type LeaseStanding } from '#src/db/leases.js';
import {
  confirmUnchanged,
  dispatchAgain,
  listAgents,
  listCarried,
  listIdleServers,
} from '#src/db/reconciliation.js';
import type { IdleServer } from '#src/db/reconciliation.js';
import type { AgentRow, OperationRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { livesUnderLease } from '#src/domain/leases.js';
import { correctionFor, type Correction, type ObservedServer } from '#src/domain/reconciliation.js';
import type { Operations } from '#src/operations/operations.js';
import { observed } from './agentWork.js';
import { forEachOf } from './forEachOf.js';

export interface ReconcileDeps {
  db: Database;
  gateway: AgentGateway;
  operations: Operations;
  bus: Bus;
  temporal: () => Promise<WorkflowClient>;
  openToken: (sealed: string) => string;
  /** How long a grant holds. */
  leaseTtlMs: number;
  /** Sends what a hand-over put into the outbox; never rejects. */
  sendNow: (operationIds: readonly string[]) => Promise<void>;
  logger: Logger;
}

/** A workflow that was just told to start has this long to appear. */
const YOUNG_MS = 15_000;
const RPC_DEADLINE_MS = 5_000;
const AGENTS_AT_ONCE = 20;

export function createReconcileActivities(deps: ReconcileDeps): ReconcileActivities {
  return {
    async closeLostOperations() {
      let closed = 0;
      for (const op of await listCarried(deps.db, YOUNG_MS)) {
        Context.current().heartbeat();
        if (await closeIfLost(deps, op)) closed += 1;
      }
      return { closed };
    },

    async reconcileAgents() {
      const agents = await listAgents(deps.db);
      let accepted = 0;
      await forEachOf(agents, AGENTS_AT_ONCE, async agent => {
        accepted += await reconcileAgent(deps, agent);
        Context.current().heartbeat();
      });
      return { agents: agents.length, accepted };
    },
  };
}

/**
 * A row says that a workflow carries it and there is none: someone terminated it, or Temporal lost its data. The row
 * ends here; what the server really does is found out by comparing with its agent.
 */
async function closeIfLost(deps: ReconcileDeps, op: OperationRow): Promise<boolean> {
  const fate = await fateOfWorkflow(deps, op);
  if (fate === 'alive') return false;
  if (fate === 'unknown' && op.state === 'accepted') {
    await dispatchAgain(deps.db, op.id);
    deps.bus.publish('dispatch', {});
    return false;
  }
  const detail = fate === 'unknown' ? 'Temporal does not know it' : `It was ${fate} from outside`;
  const { operation, outbox } = await finishOperation(deps.db, op.id, {
    state: 'failed',
    error: { code: 'lost-workflow', detail },
  });
  deps.logger.warn({ operation: op.id, fate }, 'closed an operation whose workflow is gone');
  deps.bus.publish('operation-events', { operation_id: op.id, server_id: operation.server_id });
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
 * Compares processes of one agent, all or those of the given servers, with what we believe. It is not asked about
 * servers that an operation is working on. When it does not answer, it is left for the next round.
 */
export async function reconcileAgent(
  deps: ReconcileDeps,
  agent: AgentRow,
  serverIds?: readonly string[],
): Promise<number> {
  // Read before the agent is asked. The other way round a server could be started in between, and be stopped for
  // having been seen stopped. What an operation changes from here on, `confirmUnchanged` finds out.
  const idle = await listIdleServers(deps.db, agent.id, serverIds);
  if (idle.length === 0) return 0;
  let states: ServerStates;
  try {
    states = await deps.gateway.inspectServers(agentAddress(agent, deps.openToken), {
      deadlineMs: RPC_DEADLINE_MS,
    });
  } catch (error) {
    if (error instanceof AppError) return 0;
    throw error;
  }
  const byId = new Map(states.servers.map(state => [state.serverId, state]));
  const standing = states.servers.some(endedByLease)
    ? await readLeaseStanding(deps.db, agent.id, deps.leaseTtlMs)
    : null;
  let accepted = 0;
  for (const server of idle) {
    const correction = correctionFor(server, observe(byId.get(server.id), server, standing));
    if (correction && (await accept(deps, server, correction))) accepted += 1;
  }
  return accepted;
}

function observe(
  state: ServerState | undefined,
  server: IdleServer,
  standing: LeaseStanding | null,
): ObservedServer {
  if (!state) return { process: 'stopped', exitCode: null };
  const seen = { process: observed(state.state), exitCode: state.exitCode ?? null };
  if (standing === null || !endedByLease(state)) return seen;
  const mayRun = standing.holds || !livesUnderLease(server.failover_policy, standing.capabilities);
  return { ...seen, lease: mayRun ? 'back' : 'over' };
}

function endedByLease({ endCause }: ServerState): boolean {
  return endCause === 'lease';
}

async function accept(deps: ReconcileDeps, server: IdleServer, correction: Correction): Promise<boolean> {
  try {
    await deps.operations.request({
      kind: correction.kind,
      serverId: server.id,
      requestedBy: null,
      trigger: 'reconcile',
      reason: correction.reason,
      // Two reconcilers that saw the same make one correction.
      idempotencyKey: `reconcile:${server.id}:${server.op_seq}`,
      ...(correction.desiredState && { desiredState: correction.desiredState }),
      prepare: transaction => confirmUnchanged(deps.db, transaction, server, correction.isCrash),
    });
    deps.logger.info({ server: server.id, kind: correction.kind, reason: correction.reason }, 'reconciled');
    return true;
  } catch (error) {
    if (error instanceof AppError && REFUSALS.has(error.code)) return false;
    throw error;
  }
}

/** Somebody was faster, which is as good. */
export const REFUSALS: ReadonlySet<string> = new Set([
  'stale-write',
  'not-found',
  'server-deleting',
  'needs-operator',
  'idempotency-key-reused',
]);
