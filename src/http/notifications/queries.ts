import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { NotificationRow } from '#src/db/types.js';
import type { Severity } from '#src/domain/alert.js';
import type { Page } from '../paging.js';
import { SqlFilter } from '../sql.js';

interface Wanted {
  unread?: boolean;
  type?: string;
  severity?: Severity;
  server_id?: string;
}

export async function listNotifications(
  db: Database,
  userId: string,
  wanted: Wanted,
  page: Page,
): Promise<{ rows: NotificationRow[]; total: number }> {
  const filter = new SqlFilter();
  filter.equals('user_id', userId);
  filter.equals('type', wanted.type);
  filter.equals('severity', wanted.severity);
  filter.equals('server_id', wanted.server_id);
  if (wanted.unread !== undefined) filter.where(`(read_at IS NULL) = ${filter.value(wanted.unread)}`);
  const total = await row<{ n: number }>(
    db,
    `SELECT count(*)::int AS n FROM notifications WHERE ${filter.sql}`,
    { bind: [...filter.bind] },
  );
  const found = await rows<NotificationRow>(
    db,
    `SELECT * FROM notifications WHERE ${filter.sql} ORDER BY seq DESC
     LIMIT ${filter.value(page.limit)} OFFSET ${filter.value(page.offset)}`,
    { bind: filter.bind },
  );
  return { rows: found, total: total?.n ?? 0 };
}

/** Answers how many of them were unread. */
export async function markRead(db: Database, userId: string, upToSeq: number): Promise<number> {
  const read = await row<{ n: number }>(
    db,
    `WITH read AS (
       UPDATE notifications SET read_at = now() WHERE user_id = $1 AND seq <= $2 AND read_at IS NULL RETURNING 1
     ) SELECT count(*)::int AS n FROM read`,
    { bind: [userId, upToSeq] },
  );
  return read?.n ?? 0;
}
