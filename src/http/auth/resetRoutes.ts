import { appendAudit } from '#src/db/audit.js';
import { requestMail } from '#src/db/deliveries.js';
import { isResetValid, spendReset } from '#src/db/passwordResets.js';
import { inTransaction, row } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { hashPassword } from '#src/security/password.js';
import { hashToken } from '#src/security/tokens.js';
import { anyone } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import * as schema from './schema.js';
import { endFamiliesOf } from './sessions.js';

const tag = 'auth';

const request = defineRoute({
  operationId: 'requestPasswordReset',
  method: 'POST',
  path: '/auth/reset-password',
  tag,
  summary: 'Ask for a mail with a link to set a new password',
  description:
    'Answered alike, and as quickly, whether there is such an account or not. The link works once, for an hour. At most three mails an hour go to one address.',
  auth: anyone,
  body: schema.resetRequest,
  success: { status: 202, schema: schema.message, description: 'Taken' },
  errors: ['rate-limited'],
  async handler({ body, ip, requestId }, { db, bus, loginLimits }) {
    await loginLimits.fromAddress(ip);
    if (await loginLimits.mayMail(body.email)) {
      await requestMail(db, { template: 'password-reset', address: body.email, requestId });
      bus.publish('dispatch', {});
    }
    return { body: { message: 'If that address belongs to an account, a mail is on its way' } };
  },
});

const confirm = defineRoute({
  operationId: 'resetPassword',
  method: 'POST',
  path: '/auth/reset-password/confirm',
  tag,
  summary: 'Set a new password with the token of a mailed link',
  description: 'All sessions of the account end. Sign in afterwards; a second factor is still asked for.',
  auth: anyone,
  body: schema.resetConfirmation,
  success: { status: 200, schema: schema.message },
  errors: ['invalid-reset-token', 'rate-limited'],
  async handler({ body, ip, requestId }, { db, loginLimits, settings, accessChanged }) {
    await loginLimits.fromAddress(ip);
    const tokenHash = hashToken(body.token);
    // Before the hash, which costs 50 ms that a guess is not worth.
    if (!(await isResetValid(db, tokenHash))) throw new AppError('invalid-reset-token');
    const passwordHash = await hashPassword(body.new_password, settings.auth.passwordCost);
    const user = await inTransaction(db, async transaction => {
      const userId = await spendReset(db, tokenHash, transaction);
      const changed = await row<{ id: string; username: string }>(
        db,
        'UPDATE users SET password_hash = $2 WHERE id = $1 AND is_active RETURNING id, username',
        { bind: [userId ?? null, passwordHash], transaction },
      );
      if (!changed) throw new AppError('invalid-reset-token');
      await endFamiliesOf(db, changed.id, null, transaction);
      await appendAudit(db, { action: 'password.reset', actor: changed, ip, requestId }, { transaction });
      return changed;
    });
    accessChanged(user.id);
    return { body: { message: 'The password is changed' } };
  },
});

export const resetRoutes: Route[] = [request, confirm];
