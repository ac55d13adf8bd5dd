import type { MailActivities } from '#src/contracts/activities.js';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { findDelivery, removeDelivery } from '#src/db/deliveries.js';
import { storeReset } from '#src/db/passwordResets.js';
import { inTransaction, row } from '#src/db/sql.js';
import type { NotificationRow, UserRow } from '#src/db/types.js';
import type { AuditAction } from '#src/domain/audit.js';
import type { MailTemplate } from '#src/domain/mail.js';
import { alertMail } from '#src/mail/alert.js';
import type { Mail, Mailer } from '#src/mail/mailer.js';
import { passwordResetMail } from '#src/mail/passwordReset.js';
import { hashToken, newToken } from '#src/security/tokens.js';

export interface MailDeps {
  db: Database;
  mailer: Mailer;
  /** For links. */
  publicUrl: string;
}

const RESET_VALID_MINUTES = 60;

interface Rendered extends Pick<Mail, 'subject' | 'text'> {
  recipient: { id: string; username: string };
  /** What its sending is recorded as. */
  audited?: AuditAction;
}

interface Asked {
  address: string;
  notification_id: string | null;
}

/** Null when there is nobody to send it to. A secret in a mail is made here, and only its hash is kept. */
type Render = (deps: MailDeps, mail: Asked) => Promise<Rendered | null>;

const RENDER: Record<MailTemplate, Render> = {
  async 'password-reset'({ db, publicUrl }, { address }) {
    const token = newToken();
    const ttlMs = RESET_VALID_MINUTES * 60_000;
    const recipient = await storeReset(db, { address, tokenHash: hashToken(token), ttlMs });
    if (!recipient) return null;
    const { username } = recipient;
    return {
      recipient,
      audited: 'password.reset-mailed',
      ...passwordResetMail(publicUrl, { username, token, validForMinutes: RESET_VALID_MINUTES }),
    };
  },
  async alert({ db, publicUrl }, { notification_id }) {
    const told = await row<Pick<UserRow, 'username'> & NotificationRow>(
      db,
      'SELECT n.*, u.username FROM notifications n JOIN users u ON u.id = n.user_id WHERE n.id = $1 AND u.is_active',
      { bind: [notification_id] },
    );
    if (!told) return null;
    const { user_id: id, username, title, body } = told;
    return { recipient: { id, username }, ...alertMail(publicUrl, { username, title, body }) };
  },
};

export function createMailActivities(deps: MailDeps): MailActivities {
  const { db, mailer } = deps;
  return {
    async sendMail({ mailId }) {
      const mail = await findDelivery(db, mailId);
      // An attempt before this one sent it, and its answer was lost.
      if (!mail || mail.template === null || mail.address === null) return;
      const { template, address, notification_id, request_id } = mail;
      const rendered = await RENDER[template](deps, { address, notification_id });
      if (!rendered) return removeDelivery(db, mailId);
      const { recipient, subject, text, audited } = rendered;
      await mailer.send({ id: mailId, to: address, subject, text });
      await inTransaction(db, async transaction => {
        await removeDelivery(db, mailId, transaction);
        if (!audited) return;
        await appendAudit(
          db,
          {
            action: audited,
            actor: null,
            target: { type: 'user', id: recipient.id },
            ...(request_id !== null && { requestId: request_id }),
          },
          { transaction },
        );
      });
    },
  };
}
