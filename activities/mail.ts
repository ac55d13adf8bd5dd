import type { MailActivities } from '#src/contracts/activities.js';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { findMail, removeMail } from '#src/db/mails.js';
import { storeReset } from '#src/db/passwordResets.js';
import { inTransaction } from '#src/db/sql.js';
import type { MailRow } from '#src/db/types.js';
import type { MailTemplate } from '#src/domain/mail.js';
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
}

/** Null when there is nobody to send it to. A secret in a mail is made here, and only its hash is kept. */
type Render = (deps: MailDeps, mail: MailRow) => Promise<Rendered | null>;

const RENDER: Record<MailTemplate, Render> = {
  async 'password-reset'({ db, publicUrl }, { address }) {
    const token = newToken();
    const ttlMs = RESET_VALID_MINUTES * 60_000;
    const recipient = await storeReset(db, { address, tokenHash: hashToken(token), ttlMs });
    if (!recipient) return null;
    const { username } = recipient;
    return {
      recipient,
      ...passwordResetMail(publicUrl, { username, token, validForMinutes: RESET_VALID_MINUTES }),
    };
  },
};

export function createMailActivities(deps: MailDeps): MailActivities {
  const { db, mailer } = deps;
  return {
    async sendMail({ mailId }) {
      const mail = await findMail(db, mailId);
      // An attempt before this one sent it, and its answer was lost.
      if (!mail) return;
      const rendered = await RENDER[mail.template](deps, mail);
      if (!rendered) return removeMail(db, mailId);
      const { recipient, subject, text } = rendered;
      await mailer.send({ id: mailId, to: mail.address, subject, text });
      await inTransaction(db, async transaction => {
        await removeMail(db, mailId, transaction);
        await appendAudit(
          db,
          {
            action: 'password.reset-mailed',
            actor: null,
            target: { type: 'user', id: recipient.id },
            ...(mail.request_id !== null && { requestId: mail.request_id }),
          },
          { transaction },
        );
      });
    },
  };
}
