import { randomUUID } from 'node:crypto';
import type { Bus } from '#src/bus/bus.js';
import type { OperationEventData, OperationEventType } from '#src/contracts/operation.js';
import type { Database } from '#src/db/connect.js';
import { appendEvent } from '#src/db/events.js';
import { inTransaction, row } from '#src/db/sql.js';

interface EventOfOperation {
  operation: { id: string; server_id: string | null };
  type?: OperationEventType;
  data?: OperationEventData;
}

/** Appends as every writer must: under the server's row lock, the poke (if any) after the commit. */
export async function appendTo(
  db: Database,
  { operation, type = 'progressed', data = {} }: EventOfOperation,
  bus?: Bus,
): Promise<void> {
  const { id, server_id } = operation;
  await inTransaction(db, async transaction => {
    await row(db, 'SELECT id FROM servers WHERE id = $1 FOR NO KEY UPDATE', {
      bind: [server_id],
      transaction,
    });
    if (type === 'status_changed') {
      await row(db, 'UPDATE servers SET status = $2 WHERE id = $1 RETURNING id', {
        bind: [server_id, data.status],
        transaction,
      });
    }
    await appendEvent(db, transaction, { operationId: id, key: randomUUID(), type, data });
  });
  bus?.publish('operation-events', { operation_id: id, server_id });
}
