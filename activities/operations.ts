import type { OperationActivities } from '#src/contracts/activities.js';
import type { Bus } from '#src/bus/bus.js';
import { beginOperation, markInstalled, noteUndone, transitionServer } from '#src/db/carryOperation.js';
import type { Database } from '#src/db/connect.js';
import { finishOperation } from '#src/db/endOperation.js';
import { findOperation } from '#src/db/operationQueries.js';
import { markUpgraded } from '#src/db/upgrades.js';
import { loadWork } from '#src/db/workSubject.js';
import { AppError } from '#src/domain/errors.js';

export interface OperationActivityDeps {
  db: Database;
  bus: Bus;
  /** Sends what a hand-over put into the outbox; never rejects. */
  sendNow: (operationIds: readonly string[]) => Promise<void>;
}

/** The database steps of an operation. Each is one idempotent transaction, then a poke. */
export function createOperationActivities({ db, bus, sendNow }: OperationActivityDeps): OperationActivities {
  async function serverOf(operationId: string): Promise<string> {
    const operation = await findOperation(db, operationId);
    if (!operation?.server_id) throw new AppError('not-found', { detail: 'The operation has no server' });
    return operation.server_id;
  }

  function poke(operationId: string, serverId: string | null): void {
    bus.publish('operation-events', { operation_id: operationId, server_id: serverId });
  }

  return {
    async beginOperation({ operationId, runId }) {
      const { begun, operation } = await beginOperation(db, operationId, runId);
      poke(operationId, operation.server_id);
      return { begun, trigger: operation.trigger };
    },

    async transitionServer({ operationId, ...move }) {
      const { status, serverId } = await transitionServer(db, { operationId, ...move });
      poke(operationId, serverId);
      return status;
    },

    async markInstalled({ operationId }) {
      await markInstalled(db, await serverOf(operationId));
    },

    async markUpgraded({ operationId }) {
      poke(operationId, await markUpgraded(db, operationId));
    },

    async readDesiredState({ operationId }) {
      const { server } = await loadWork(db, operationId);
      return server?.desired_state ?? 'stopped';
    },

    async noteUndone({ operationId, step }) {
      await noteUndone(db, operationId, step);
      poke(operationId, await serverOf(operationId));
    },

    async finishOperation({ operationId, ...ending }) {
      const { operation, outbox, told } = await finishOperation(db, operationId, ending);
      poke(operationId, operation.server_id);
      for (const user_id of told) bus.publish('notifications', { user_id });
      // The next in the queue starts now instead of at the dispatcher's next look; not awaited: the outcome is in.
      void sendNow(outbox);
    },
  };
}
