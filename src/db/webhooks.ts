import type { ErrorCode } from '#src/domain/errors.js';
import { WEBHOOK_FAILURES_MAX } from '#src/domain/webhook.js';
import type { Database } from './connect.js';
import { removeDelivery } from './deliveries.js';
import { inTransaction, row, rows } from './sql.js';
import type { NotificationRow, WebhookRow } from './types.js';

export interface WebhookCall {
  webhook: WebhookRow;
  /** Null: a trial. */
  notification: NotificationRow | null;
}

/** What a delivery is to bring, and where; undefined when it has gone, or its webhook or user is switched off. */
export async function findWebhookCall(db: Database, deliveryId: string): Promise<WebhookCall | undefined> {
  const webhook = await row<WebhookRow & { notification_id: string | null }>(
    db,
    `SELECT w.*, d.notification_id FROM deliveries d
     JOIN webhooks w ON w.id = d.webhook_id JOIN users u ON u.id = w.user_id
     WHERE d.id = $1 AND w.is_active AND u.is_active`,
    { bind: [deliveryId] },
  );
  if (!webhook) return undefined;
  if (webhook.notification_id === null) return { webhook, notification: null };
  const notification = await row<NotificationRow>(db, 'SELECT * FROM notifications WHERE id = $1', {
    bind: [webhook.notification_id],
  });
  return notification && { webhook, notification };
}

export async function noteDelivered(
  db: Database,
  { deliveryId, webhookId, status }: { deliveryId: string; webhookId: string; status: number },
): Promise<void> {
  await inTransaction(db, async transaction => {
    await removeDelivery(db, deliveryId, transaction);
    await rows(
      db,
      `UPDATE webhooks SET last_status = $2, last_error = NULL, last_delivery_at = now(), failures = 0
       WHERE id = $1 RETURNING id`,
      { bind: [webhookId, status], transaction },
    );
  });
}

/** `status`: null when there was no answer. */
export async function noteAttemptFailed(
  db: Database,
  { webhookId, status, error }: { webhookId: string; status: number | null; error: ErrorCode },
): Promise<void> {
  await rows(
    db,
    'UPDATE webhooks SET last_status = $2, last_error = $3, last_delivery_at = now() WHERE id = $1 RETURNING id',
    { bind: [webhookId, status, error] },
  );
}

/** Gives the delivery up. Counted once, however often it is called; too many in a row switch the webhook off. */
export async function buryDelivery(db: Database, deliveryId: string): Promise<void> {
  await rows(
    db,
    `WITH gone AS (DELETE FROM deliveries WHERE id = $1 AND webhook_id IS NOT NULL RETURNING webhook_id)
     UPDATE webhooks w SET failures = failures + 1, is_active = is_active AND failures + 1 < ${WEBHOOK_FAILURES_MAX}
     FROM gone WHERE w.id = gone.webhook_id RETURNING w.id`,
    { bind: [deliveryId] },
  );
}
