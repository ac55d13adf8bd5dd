import type { MailTemplate } from '#src/domain/mail.js';
import type { Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { DeliveryRow } from './types.js';

/** Longer than any attempt to send one goes on. */
const KEPT = `interval '2 days'`;

/**
 * Promises a mail to whoever has that address, if anyone: who that is, is found out when it is sent, so that asking
 * takes as long for an address that nobody has.
 */
export async function requestMail(
  db: Database,
  mail: { template: MailTemplate; address: string; requestId: string },
): Promise<void> {
  await rows(db, 'INSERT INTO deliveries (template, address, request_id) VALUES ($1, $2, $3) RETURNING id', {
    bind: [mail.template, mail.address, mail.requestId],
  });
}

/** Promises a call that tells of nothing. Answers its id, or that of the trial that still waits. */
export async function requestTrial(db: Database, webhookId: string, requestId: string): Promise<string> {
  const delivery = await row<Pick<DeliveryRow, 'id'>>(
    db,
    `WITH waiting AS (
       SELECT id FROM deliveries WHERE webhook_id = $1 AND notification_id IS NULL LIMIT 1
     ), made AS (
       INSERT INTO deliveries (webhook_id, request_id) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM waiting) RETURNING id
     )
     SELECT id FROM waiting UNION ALL SELECT id FROM made`,
    { bind: [webhookId, requestId] },
  );
  return delivery?.id ?? '';
}

export type DeliveryClaim = Pick<DeliveryRow, 'id' | 'template' | 'request_id'>;

/** As claimDispatches of operations: takes due rows for five seconds. */
export async function claimDeliveries(db: Database, limit: number): Promise<DeliveryClaim[]> {
  return rows<DeliveryClaim>(
    db,
    `UPDATE deliveries SET dispatch_after = now() + interval '5 seconds'
     WHERE id IN (
       SELECT id FROM deliveries WHERE dispatch_after <= now() ORDER BY dispatch_after FOR UPDATE SKIP LOCKED LIMIT $1
     ) RETURNING id, template, request_id`,
    { bind: [limit] },
  );
}

export async function markDeliveryDispatched(db: Database, id: string): Promise<void> {
  await rows(db, 'UPDATE deliveries SET dispatch_after = NULL WHERE id = $1 RETURNING id', { bind: [id] });
}

export async function findDelivery(db: Database, id: string): Promise<DeliveryRow | undefined> {
  return row<DeliveryRow>(db, 'SELECT * FROM deliveries WHERE id = $1', { bind: [id] });
}

/** It has gone, or nobody is there to get it. Also forgets those that could never be sent. */
export async function removeDelivery(db: Database, id: string, transaction?: Transaction): Promise<void> {
  await rows(db, `DELETE FROM deliveries WHERE id = $1 OR created_at < now() - ${KEPT} RETURNING id`, {
    bind: [id],
    transaction,
  });
}
