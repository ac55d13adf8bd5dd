import { inTransaction, rows } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { hashPassword, verifyPassword } from '#src/security/password.js';
import { issueAccessToken } from '#src/security/tokens.js';
import type { Api } from '../deps.js';
import { anyone, signedIn } from '../gates.js';
import { rateLimitHeaders } from '../rateLimiter.js';
import { defineRoute, type Route } from '../route.js';
import { findAccount, findUser, insertUser, updateProfile } from './accounts.js';
import { presentUser } from './presenter.js';
import * as schema from './schema.js';
import {
  endFamily,
  endOtherFamilies,
  findFamily,
  openSession,
  rotateSession,
  type OpenedSession,
} from './sessions.js';

const tag = 'auth';
const RATE_LIMIT_HEADERS = {
  'RateLimit-Limit': 'Attempts a minute',
  'RateLimit-Remaining': 'Attempts left',
  'RateLimit-Reset': 'Seconds until all are there again',
};

const register = defineRoute({
  operationId: 'register',
  method: 'POST',
  path: '/auth/register',
  tag,
  summary: 'Make an account',
  description: 'The new account is a plain user; a role can’t be asked for. Sign in afterwards.',
  auth: anyone,
  body: schema.registration,
  success: { status: 201, schema: schema.user },
  errors: ['registration-closed', 'name-taken', 'email-taken', 'rate-limited'],
  async handler({ body, ip }, { db, settings, loginLimits }) {
    if (settings.auth.registration === 'closed') throw new AppError('registration-closed');
    loginLimits.register(ip);
    const passwordHash = await hashPassword(body.password, settings.auth.passwordCost);
    return { body: presentUser(await insertUser(db, body, passwordHash)) };
  },
});

const login = defineRoute({
  operationId: 'login',
  method: 'POST',
  path: '/auth/login',
  tag,
  summary: 'Sign in with a username or an email address',
  description: 'An account that does not exist is answered like a wrong password, and as slowly.',
  auth: anyone,
  body: schema.login,
  success: { status: 200, schema: schema.session, headers: RATE_LIMIT_HEADERS },
  errors: ['invalid-credentials', 'account-disabled', 'rate-limited'],
  async handler({ body, ip, userAgent }, api) {
    const name = body.username ?? body.email ?? '';
    const allowance = api.loginLimits.attempt(name, ip);
    const user = await findAccount(api.db, name);
    const matches = await verifyPassword(user?.password_hash, body.password);
    if (!user || !matches) throw new AppError('invalid-credentials');
    api.loginLimits.succeeded(name);
    if (!user.is_active) throw new AppError('account-disabled');
    const session = { userId: user.id, ttlMs: api.settings.auth.refreshTtlMs, client: { ip, userAgent } };
    const opened = await openSession(api.db, session);
    const [signedInUser = user] = await rows<UserRow>(
      api.db,
      'UPDATE users SET last_login = now() WHERE id = $1 RETURNING *',
      { bind: [user.id] },
    );
    return { body: presentSession(api, signedInUser, opened), headers: rateLimitHeaders(allowance) };
  },
});

const refresh = defineRoute({
  operationId: 'refreshTokens',
  method: 'POST',
  path: '/auth/refresh',
  tag,
  summary: 'Trade a refresh token for new tokens',
  description:
    'The given token is replaced; for 60 seconds it still works, for answers that got lost. Used later, it ends all tokens of its login.',
  auth: anyone,
  body: schema.refresh,
  success: { status: 200, schema: schema.session },
  errors: ['unauthenticated', 'token-reused', 'account-disabled'],
  async handler({ body, ip, userAgent }, api) {
    const { refreshTtlMs } = api.settings.auth;
    const rotation = await rotateSession(api.db, body.refresh_token, refreshTtlMs, { ip, userAgent });
    if (rotation.outcome === 'reused') {
      api.accessChanged(rotation.userId);
      throw new AppError('token-reused');
    }
    return { body: presentSession(api, rotation.user, rotation.opened) };
  },
});

const logout = defineRoute({
  operationId: 'logout',
  method: 'POST',
  path: '/auth/logout',
  tag,
  summary: 'Sign out',
  description:
    'Ends the session of the access token and of the refresh token, if they are good; the answer is 200 anyway.',
  auth: {
    rule: 'anyone',
    errors: [],
    // A dead token has nothing left to end, and the client wants to be rid of it.
    admit: async (ctx, api) => ({
      actor: await api.authenticate(ctx).catch((error: unknown) => {
        if (error instanceof AppError && error.status === 401) return null;
        throw error;
      }),
    }),
  },
  body: schema.logout,
  success: { status: 200, schema: schema.message },
  async handler({ actor, body }, { db, accessChanged }) {
    const family = body.refresh_token ? await findFamily(db, body.refresh_token) : null;
    if (actor) await endFamily(db, actor.sessionId);
    if (family) await endFamily(db, family.familyId);
    for (const userId of [actor?.id, family?.userId]) if (userId !== undefined) accessChanged(userId);
    return { body: { message: 'Signed out' } };
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
  auth: signedIn,
  body: schema.profileChange,
  success: { status: 200, schema: schema.user },
  errors: ['name-taken', 'email-taken'],
  async handler({ actor, body }, { db, accessChanged }) {
    const user = await updateProfile(db, actor.id, body);
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
  auth: signedIn,
  body: schema.passwordChange,
  success: { status: 200, schema: schema.message },
  errors: ['wrong-password', 'rate-limited'],
  async handler({ actor, body, ip }, { db, accessChanged, loginLimits, settings }) {
    loginLimits.attempt(actor.username, ip);
    const user = await findUser(db, actor.id);
    if (!(await verifyPassword(user.password_hash, body.current_password)))
      throw new AppError('wrong-password');
    loginLimits.succeeded(actor.username);
    const passwordHash = await hashPassword(body.new_password, settings.auth.passwordCost);
    await inTransaction(db, async transaction => {
      await rows(db, 'UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING id', {
        bind: [actor.id, passwordHash],
        transaction,
      });
      await endOtherFamilies(db, actor.id, actor.sessionId, transaction);
    });
    accessChanged(actor.id);
    return { body: { message: 'The password is changed' } };
  },
});

function presentSession(api: Api, user: UserRow, { familyId, refreshToken }: OpenedSession) {
  const { jwtSecret, accessTtlMs } = api.settings.auth;
  const accessToken = issueAccessToken(
    jwtSecret,
    { sub: user.id, role: user.role, sid: familyId },
    accessTtlMs,
  );
  return {
    token: accessToken,
    access_token: accessToken,
    refresh_token: refreshToken,
    token_type: 'Bearer',
    expires_in: Math.floor(accessTtlMs / 1000),
    user: presentUser(user),
  };
}

export const authRoutes: Route[] = [register, login, refresh, logout, getMe, putMe, changePassword];
