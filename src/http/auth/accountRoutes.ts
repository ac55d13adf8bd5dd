import { appendAudit } from '#src/db/audit.js';
import { inTransaction, rows } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { hashPassword } from '#src/security/password.js';
import { anyone, inPerson, signedIn } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { findUser, insertUser, updateProfile } from './accounts.js';
import { claimInvitation, noteInvited } from './invitations.js';
import { confirmPassword } from './passwordCheck.js';
import { presentUser } from './presenter.js';
import * as schema from './schema.js';
import { endFamiliesOf } from './sessions.js';

const tag = 'auth';

const register = defineRoute({
  operationId: 'register',
  method: 'POST',
  path: '/auth/register',
  tag,
  summary: 'Make an account',
  description:
    'The new account is a plain user; a role can’t be asked for. Sign in afterwards. Where registration is by invitation, one is needed.',
  auth: anyone,
  body: schema.registration,
  success: { status: 201, schema: schema.user },
  errors: ['registration-closed', 'invalid-invitation', 'name-taken', 'email-taken', 'rate-limited'],
  async handler({ body, ip, requestId }, { db, settings, loginLimits }) {
    const { registration, passwordCost } = settings.auth;
    if (registration === 'closed') throw new AppError('registration-closed');
    await loginLimits.register(ip);
    const passwordHash = await hashPassword(body.password, passwordCost);
    const user = await inTransaction(db, async transaction => {
      // First, so that who was not invited learns of no name whether it is taken.
      const invitation =
        registration === 'invite' ? await claimInvitation(db, body.invitation, transaction) : null;
      const made = await insertUser(db, body, passwordHash, transaction);
      if (invitation !== null) await noteInvited(db, invitation, made.id, transaction);
      const data = invitation === null ? {} : { invitation_id: invitation };
      const target = { type: 'user', id: made.id } as const;
      await appendAudit(
        db,
        { action: 'account.registered', actor: made, ip, requestId, target, data },
        { transaction },
      );
      return made;
    });
    return { body: presentUser(user) };
  },
});

const getMe = defineRoute({
  operationId: 'readMyAccount',
  method: 'GET',
  path: '/auth/me',
  tag,
  summary: 'My account',
  auth: signedIn,
  success: { status: 200, schema: schema.user },
  async handler({ actor }, { db }) {
    return { body: presentUser(await findUser(db, actor.id)) };
  },
});

const putMe = defineRoute({
  operationId: 'updateMyAccount',
  method: 'PUT',
  path: '/auth/me',
  tag,
  summary: 'Change my username or email address',
  auth: inPerson,
  body: schema.profileChange,
  success: { status: 200, schema: schema.user },
  errors: ['name-taken', 'email-taken'],
  async handler({ actor, body, ip, requestId }, { db, accessChanged }) {
    const user = await inTransaction(db, async transaction => {
      const updated = await updateProfile(db, actor.id, body, transaction);
      const target = { type: 'user', id: actor.id } as const;
      const data = { changed: Object.keys(body) };
      await appendAudit(
        db,
        { action: 'account.updated', actor, ip, requestId, target, data },
        { transaction },
      );
      return updated;
    });
    accessChanged(actor.id);
    return { body: presentUser(user) };
  },
});

const changePassword = defineRoute({
  operationId: 'changeMyPassword',
  method: 'POST',
  path: '/auth/change-password',
  tag,
  summary: 'Change my password',
  description: 'All my other sessions end.',
  auth: inPerson,
  body: schema.passwordChange,
  success: { status: 200, schema: schema.message },
  errors: ['wrong-password', 'rate-limited'],
  async handler({ actor, body, ip, requestId }, { db, accessChanged, loginLimits, settings }) {
    await confirmPassword({ db, loginLimits }, actor.id, body.current_password, ip);
    const passwordHash = await hashPassword(body.new_password, settings.auth.passwordCost);
    await inTransaction(db, async transaction => {
      await rows(db, 'UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING id', {
        bind: [actor.id, passwordHash],
        transaction,
      });
      await endFamiliesOf(db, actor.id, actor.sessionId, transaction);
      await appendAudit(db, { action: 'password.changed', actor, ip, requestId }, { transaction });
    });
    accessChanged(actor.id);
    return { body: { message: 'The password is changed' } };
  },
});

export const accountRoutes: Route[] = [register, getMe, putMe, changePassword];
