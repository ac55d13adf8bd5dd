import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { row, rows, type StatementOptions } from '#src/db/sql.js';
import type { WebhookRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { WEBHOOKS_MAX } from '#src/domain/webhook.js';
import { columnsOf } from '../sql.js';
import type { WebhookChange, WebhookCreation } from './schema.js';

export async function listWebhooks(db: Database, userId: string): Promise<WebhookRow[]> {
  return rows<WebhookRow>(db, 'SELECT * FROM webhooks WHERE user_id = $1 ORDER BY created_at, id', {
    bind: [userId],
  });
}

/** Of that user; rejects with `not-found`. */
export async function findWebhook(db: Database, userId: string, id: string): Promise<WebhookRow> {
  return existing(db, 'SELECT * FROM webhooks WHERE id = $1 AND user_id = $2', { bind: [id, userId] });
}

/** Rejects with `too-many-webhooks`. `secret`: sealed. */
export async function insertWebhook(
  db: Database,
  userId: string,
  { url, events, format }: WebhookCreation,
  secret: string,
  transaction: Transaction,
): Promise<WebhookRow> {
  // Of two requests at once the second counts what the first has made.
  await rows(db, 'SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE', { bind: [userId], transaction });
  const inserted = await row<WebhookRow>(
    db,
    `INSERT INTO webhooks (user_id, url, secret, events, format) SELECT $1, $2, $3, $4::text[], $5
     WHERE (SELECT count(*) FROM webhooks WHERE user_id = $1) < ${WEBHOOKS_MAX} RETURNING *`,
    { bind: [userId, url, secret, events, format], transaction },
  );
  if (!inserted) {
    throw new AppError('too-many-webhooks', { detail: `A user can have ${WEBHOOKS_MAX} webhooks` });
  }
  return inserted;
}

/** Rejects with `not-found`. */
export async function updateWebhook(
  db: Database,
  userId: string,
  id: string,
  change: WebhookChange,
  transaction: Transaction,
): Promise<WebhookRow> {
  const { assignments, bind } = columnsOf({ ...change, ...(change.is_active && { failures: 0 }) }, 3);
  return existing(
    db,
    `UPDATE webhooks SET ${assignments || 'id = id'} WHERE id = $1 AND user_id = $2 RETURNING *`,
    { bind: [id, userId, ...bind], transaction },
  );
}

/** Rejects with `not-found`. What still waits for it goes too. */
export async function deleteWebhook(
  db: Database,
  userId: string,
  id: string,
  transaction: Transaction,
): Promise<WebhookRow> {
  return existing(db, 'DELETE FROM webhooks WHERE id = $1 AND user_id = $2 RETURNING *', {
    bind: [id, userId],
    transaction,
  });
}

async function existing(db: Database, sql: string, options: StatementOptions): Promise<WebhookRow> {
  const found = await row<WebhookRow>(db, sql, options);
  if (!found) throw new AppError('not-found', { detail: 'You have no such webhook' });
  return found;
}
