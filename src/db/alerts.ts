import type { Transaction } from 'sequelize';
import type { NotificationView } from '#src/contracts/notification.js';
import { DEFAULT_PREFERENCES, type AlertCode, type Preferences, type Severity } from '#src/domain/alert.js';
import type { Database } from './connect.js';
import { rows } from './sql.js';
import type { JsonObject, NotificationRow } from './types.js';

export interface Alert {
  code: AlertCode;
  server_id: string;
  severity: Severity;
  /** One line for people. */
  title: string;
  body: string;
  data: JsonObject;
  /** Names the occasion within the server and the code: raised again with the same, it is told to nobody twice. */
  occasion: string;
}

/**
 * Tells everyone who sees the server: its owner, its members, the admins. Answers the ids of those who had not been told
 * of this occasion yet; what their preferences send elsewhere waits as a delivery then. Numbers are given under a lock of each user's head, so a reader never meets one out of order.
 */
export async function raiseAlert(db: Database, alert: Alert, transaction?: Transaction): Promise<string[]> {
  const { code, server_id, severity, title, body, data, occasion } = alert;
  const told = await rows<{ user_id: string }>(
    db,
    `WITH untold AS (
       SELECT u.id FROM users u JOIN servers s ON s.id = $1
       WHERE u.is_active AND NOT EXISTS (SELECT FROM notifications n WHERE n.user_id = u.id AND n.dedupe_key = $2)
         AND (u.role = 'admin' OR u.id = s.user_id
              OR EXISTS (SELECT FROM server_members m WHERE m.server_id = s.id AND m.user_id = u.id))
     ), numbered AS (
       INSERT INTO notification_heads AS h (user_id, seq) SELECT id, 1 FROM untold ORDER BY id
       ON CONFLICT (user_id) DO UPDATE SET seq = h.seq + 1 RETURNING user_id, seq
     ), told AS (
       INSERT INTO notifications (user_id, seq, dedupe_key, type, severity, title, body, data, server_id)
       SELECT user_id, seq, $2, 'alert', $3, $4, $5, $6::jsonb, $1 FROM numbered
       ON CONFLICT (user_id, dedupe_key) DO NOTHING RETURNING id, user_id
     ), wanted AS (
       SELECT t.id, t.user_id, u.email, $8::jsonb || coalesce(u.preferences, '{}') AS preferences
       FROM told t JOIN users u ON u.id = t.user_id
     ), mailed AS (
       INSERT INTO deliveries (template, address, notification_id)
       SELECT 'alert', email, id FROM wanted WHERE ${passes('email')}
     ), called AS (
       INSERT INTO deliveries (webhook_id, notification_id)
       SELECT w.id, wanted.id FROM wanted JOIN webhooks w ON w.user_id = wanted.user_id
       WHERE w.is_active AND (w.events = '{}' OR $7 = ANY(w.events)) AND ${passes('webhook')}
     )
     SELECT user_id FROM told`,
    {
      bind: [
        server_id,
        `${code}:${server_id}:${occasion}`,
        severity,
        title,
        body,
        JSON.stringify({ ...data, code }),
        code,
        JSON.stringify(DEFAULT_PREFERENCES),
      ],
      transaction,
    },
  );
  return told.map(({ user_id }) => user_id);
}

export function viewNotification(told: NotificationRow): NotificationView {
  const { id, type, severity, title, body, data, server_id, read_at, created_at } = told;
  return {
    id,
    type,
    severity,
    title,
    body,
    data,
    server_id,
    read_at: read_at?.toISOString() ?? null,
    created_at: created_at.toISOString(),
  };
}

/** Whether an alert of severity $3 and code $7 goes that way. */
const passes = (way: keyof Preferences) =>
  `preferences #> '{${way},severities}' @> to_jsonb($3::text)
   AND NOT preferences #> '{${way},muted}' @> to_jsonb($7::text)`;
