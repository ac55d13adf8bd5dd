import type { MailTemplate } from '#src/domain/mail.js';
import type { Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { MailRow } from './types.js';

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
  await rows(db, 'INSERT INTO mails (template, address, request_id) VALUES ($1, $2, $3) RETURNING id', {
    bind: [mail.template, mail.address, mail.requestId],
  });
}

export type MailClaim = Pick<MailRow, 'id' | 'template' | 'request_id'>;

/** As claimDispatches of operations: takes due rows for five seconds. */
export async function claimMails(db: Database, limit: number): Promise<MailClaim[]> {
  return rows<MailClaim>(
    db,
    `UPDATE mails SET dispatch_after = now() + interval '5 seconds'
     WHERE id IN (
       SELECT id FROM mails WHERE dispatch_after <= now() ORDER BY dispatch_after FOR UPDATE SKIP LOCKED LIMIT $1
     ) RETURNING id, template, request_id`,
    { bind: [limit] },
  );
}

export async function markMailDispatched(db: Database, id: string): Promise<void> {
  await rows(db, 'UPDATE mails SET dispatch_after = NULL WHERE id = $1 RETURNING id', { bind: [id] });
}

export async function findMail(db: Database, id: string): Promise<MailRow | undefined> {
  return row<MailRow>(db, 'SELECT * FROM mails WHERE id = $1', { bind: [id] });
}

/** It has gone, or nobody is there to get it. Also forgets those that could never be sent. */
export async function removeMail(db: Database, id: string, transaction?: Transaction): Promise<void> {
  await rows(db, `DELETE FROM mails WHERE id = $1 OR created_at < now() - ${KEPT} RETURNING id`, {
    bind: [id],
    transaction,
  });
}
