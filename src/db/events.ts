import type { Transaction } from 'sequelize';
import type { OperationEventData, OperationEventType } from '#src/contracts/operation.js';
import type { Database } from './connect.js';
import { row } from './sql.js';

export interface NewEvent {
  operationId: string;
  /** Makes a retry harmless: the same key adds nothing. Made by whoever may be retried. */
  key: string;
  type: OperationEventType;
  data?: OperationEventData;
}

/**
 * Appends to the operation's and to its server's order of events. The caller holds the server's row lock (or there is
 * no server), so that both counters are given without holes and a reader of `seq > n` never meets a late one.
 */
export async function appendEvent(db: Database, transaction: Transaction, event: NewEvent): Promise<void> {
  await row(
    db,
    `WITH op AS (
       UPDATE operations SET event_seq = event_seq + 1
       WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM operation_events WHERE op_id = $1 AND event_key = $2)
       RETURNING event_seq, server_id
     ), server AS (
       UPDATE servers SET server_seq = server_seq + 1 FROM op WHERE servers.id = op.server_id RETURNING server_seq
     )
     INSERT INTO operation_events (op_id, seq, server_id, server_seq, event_key, type, data)
     SELECT $1, op.event_seq, op.server_id, (SELECT server_seq FROM server), $2, $3, $4::jsonb FROM op
     RETURNING seq`,
    { bind: [event.operationId, event.key, event.type, JSON.stringify(event.data ?? {})], transaction },
  );
}

/** Whether the operation has told that already. */
export async function hasEvent(
  db: Database,
  transaction: Transaction,
  operationId: string,
  key: string,
): Promise<boolean> {
  const found = await row(db, 'SELECT 1 FROM operation_events WHERE op_id = $1 AND event_key = $2', {
    bind: [operationId, key],
    transaction,
  });
  return found !== undefined;
}
