import { createHash } from 'node:crypto';
import type { WorkflowClient } from '@temporalio/client';
import type { Logger } from 'pino';
import type { Bus } from '#src/bus/bus.js';
import type { OperationView } from '#src/contracts/operation.js';
import { RESOLVE_SIGNAL, WORKFLOW_TYPES } from '#src/contracts/workflows.js';
import { acceptAgentOperation } from '#src/db/acceptAgentOperation.js';
import { acceptOperation } from '#src/db/acceptOperation.js';
import type { Database } from '#src/db/connect.js';
import { cancelOperation } from '#src/db/endOperation.js';
import { findOperation } from '#src/db/operationQueries.js';
import { AppError } from '#src/domain/errors.js';
import type { OperationKind } from '#src/domain/operation.js';
import { desiredStateAfter } from '#src/domain/operationPolicy.js';
import type { Dispatcher } from './dispatcher.js';
import type { OperationRequest, Operations } from './operations.js';

export interface OperationsDeps {
  db: Database;
  bus: Bus;
  dispatcher: Dispatcher;
  /** Resolves to the client, or rejects while Temporal has not been reached yet. */
  temporal: () => Promise<WorkflowClient>;
  logger: Logger;
}

const SIGNAL_DEADLINE_MS = 5_000;

/** Accepts in Postgres, answers, and only then tells Temporal and the other processes. */
export function createOperations(deps: OperationsDeps): Operations {
  const { db, bus, dispatcher } = deps;

  function announce(operation: OperationView, outbox: readonly string[]): void {
    bus.publish('operation-events', { operation_id: operation.id, server_id: operation.server_id });
    // Not awaited by the answer; sendNow never rejects, and what it can't send stays in the outbox.
    void dispatcher.sendNow(outbox);
  }

  return {
    async request(request: OperationRequest) {
      if (WORKFLOW_TYPES[request.kind] === null) {
        throw new AppError('invalid-request', { detail: `${request.kind} is not available` });
      }
      const { operation, replayed, outbox } = await acceptOperation(db, {
        kind: request.kind,
        serverId: request.serverId,
        requestedBy: request.requestedBy,
        trigger: request.trigger,
        params: request.params ?? {},
        force: request.force ?? false,
        idempotencyKey: request.idempotencyKey ?? null,
        requestHash: hashRequest(request),
        requestId: request.requestId ?? null,
        desiredState: request.desiredState ?? desiredStateAfter(request.kind, request.trigger),
        ...(request.reason !== undefined && { reason: request.reason }),
        ...(request.prepare && { prepare: request.prepare }),
      });
      if (!replayed) announce(operation, outbox);
      return { operation, replayed };
    },

    async requestForAgent({ agentId, requestId, idempotencyKey, params = {}, ...request }) {
      const { operation, replayed, outbox } = await acceptAgentOperation(db, {
        ...request,
        agentId,
        params,
        idempotencyKey: idempotencyKey ?? null,
        requestHash: digest(request.kind, { agent: agentId, params }),
        requestId: requestId ?? null,
      });
      if (!replayed) announce(operation, outbox);
      return { operation, replayed };
    },

    async cancel(operationId, by) {
      const { operation, outbox } = await cancelOperation(db, operationId);
      deps.logger.info(
        { operation: operationId, by: by.userId, requestId: by.requestId },
        'cancel requested',
      );
      announce(operation, outbox);
      return operation;
    },

    async resolve(operationId, resolution) {
      const operation = await findOperation(db, operationId);
      if (!operation) throw new AppError('not-found', { detail: 'There is no such operation' });
      if (operation.state !== 'needs_operator')
        throw new AppError('not-resting', { detail: `It is ${operation.state}` });
      try {
        const client = await deps.temporal();
        await client.connection.withDeadline(Date.now() + SIGNAL_DEADLINE_MS, () =>
          client.getHandle(operation.workflow_id).signal(RESOLVE_SIGNAL, resolution),
        );
      } catch (error) {
        throw new AppError('temporal-unavailable', {
          detail: 'The decision was not taken; try again',
          cause: error,
        });
      }
      return operation;
    },
  };
}

function hashRequest(request: OperationRequest): string {
  const same = request.fingerprint ?? {
    server: request.serverId,
    params: request.params ?? {},
    force: request.force ?? false,
  };
  return digest(request.kind, same);
}

function digest(kind: OperationKind, same: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, same]))
    .digest('hex');
}
