import { encodeCursor } from '#src/contracts/cursor.js';
import type { Database } from '#src/db/connect.js';
import { rows } from '#src/db/sql.js';
import type { NotificationRow } from '#src/db/types.js';
import type { Entry, EventSource } from './eventSources.js';
import { notificationMessage } from './messages.js';
import { readNotificationHeads } from './queries.js';

/** What a newcomer is shown of what they have not read; the rest is a list to ask for. */
const MAX_UNREAD = 20;

/** What one user is told. Places are `seq`, given out under a lock of the user's head. */
export function notificationSource(db: Database, name: string, userId: string): EventSource {
  const entriesOf = (found: readonly NotificationRow[]): Entry[] =>
    found.map(told => ({ seq: told.seq, message: messageOf(name, told) }));
  return {
    head: () => headOf(db, userId),
    read: async (after, limit) =>
      entriesOf(
        await rows<NotificationRow>(
          db,
          'SELECT * FROM notifications WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT $3',
          { bind: [userId, after, limit] },
        ),
      ),
    snapshot: async limit => {
      const head = await headOf(db, userId);
      const unread = await rows<NotificationRow>(
        db,
        `SELECT * FROM notifications
         WHERE user_id = $1 AND seq <= $2 AND read_at IS NULL ORDER BY seq DESC LIMIT $3`,
        { bind: [userId, head, Math.min(limit, MAX_UNREAD)] },
      );
      return { entries: entriesOf(unread.toReversed()), position: head };
    },
  };
}

async function headOf(db: Database, userId: string): Promise<number> {
  return (await readNotificationHeads(db, [userId])).get(userId) ?? 0;
}

function messageOf(name: string, told: NotificationRow) {
  const { id, type, severity, title, body, data, server_id, read_at, created_at } = told;
  const at = created_at.toISOString();
  const view = { id, type, severity, title, body, data, server_id, read_at: read_at?.toISOString() ?? null };
  return notificationMessage(name, { ...view, created_at: at }, encodeCursor(told.seq));
}
