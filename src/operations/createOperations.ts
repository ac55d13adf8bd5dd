import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { Bus } from '#src/bus/bus.js';
import type { OperationView } from '#src/contracts/operation.js';
import { WORKFLOW_TYPES } from '#src/contracts/workflows.js';
import { acceptOperation } from '#src/db/acceptOperation.js';
import type { Database } from '#src/db/connect.js';
import { cancelOperation } from '#src/db/endOperation.js';
import { AppError } from '#src/domain/errors.js';
import { desiredStateAfter } from '#src/domain/operationPolicy.js';
import type { Dispatcher } from './dispatcher.js';
import type { OperationRequest, Operations } from './operations.js';

export interface OperationsDeps {
  db: Database;
  bus: Bus;
  dispatcher: Dispatcher;
  logger: Logger;
}

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

    async cancel(operationId, by) {
      const { operation, outbox } = await cancelOperation(db, operationId);
      deps.logger.info(
        { operation: operationId, by: by.userId, requestId: by.requestId },
        'cancel requested',
      );
      announce(operation, outbox);
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
  return createHash('sha256')
    .update(JSON.stringify([request.kind, same]))
    .digest('hex');
}
