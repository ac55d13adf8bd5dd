import { appendAudit } from '#src/db/audit.js';
import { inTransaction, row } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import { verifyPassword } from '#src/security/password.js';
import { issueAccessToken } from '#src/security/tokens.js';
import type { Api } from '../deps.js';
import { anyone } from '../gates.js';
import { rateLimitHeaders, RateLimited, RATE_LIMIT_HEADERS, type Allowance } from '../rateLimiter.js';
import { defineRoute, type Route } from '../route.js';
import { findAccount } from './accounts.js';
import type { Attempt } from './loginLimits.js';
import { presentUser } from './presenter.js';
import * as schema from './schema.js';
import { findFactor, spendCode } from './secondFactor.js';
import {
  endFamily,
  findFamily,
  isKnownAddress,
  openSession,
  rotateSession,
  type Client,
  type OpenedSession,
} from './sessions.js';

const tag = 'auth';

const login = defineRoute({
  operationId: 'login',
  method: 'POST',
  path: '/auth/login',
  tag,
  summary: 'Sign in with a username or an email address',
  description:
    'An account that does not exist is answered like a wrong password, and as slowly. Where a second factor is enabled, a right password without its code is answered `totp-required`.',
  auth: anyone,
  body: schema.login,
  success: { status: 200, schema: schema.session, headers: RATE_LIMIT_HEADERS },
  errors: ['invalid-credentials', 'account-disabled', 'totp-required', 'invalid-totp', 'rate-limited'],
  async handler({ body, ip, userAgent, requestId }, api) {
    const client = { ip, userAgent, requestId };
    const name = body.username ?? body.email ?? '';
    await api.loginLimits.fromAddress(ip);
    const user = await findAccount(api.db, name);
    // Counted by what was typed: a count that names of one account shared would tell that there is such an account.
    const attempt = {
      account: name.toLowerCase(),
      ip,
      knownAddress: await isKnownAddress(api.db, user?.id ?? null, ip),
    };
    const allowance = await countAttempt(api, attempt, user, client);
    const matches = await verifyPassword(user?.password_hash, body.password);
    if (!user || !matches) throw await failure(api, 'invalid-credentials', user, client);
    if (!user.is_active) throw await failure(api, 'account-disabled', user, client);
    await passSecondFactor(api, user, body.totp, attempt, client);
    await api.loginLimits.succeeded(attempt);
    const { account, opened } = await openLogin(api, user, client);
    return { body: presentSession(api, account, opened), headers: rateLimitHeaders(allowance) };
  },
});

/** A limit that is reached is told of once a minute, however hard somebody tries. */
const LIMITED_ONCE_IN_S = 60;

async function countAttempt(
  { db, loginLimits }: Api,
  attempt: Attempt,
  user: UserRow | undefined,
  { ip, requestId }: Client,
): Promise<Allowance> {
  try {
    return await loginLimits.attempt(attempt);
  } catch (error) {
    if (error instanceof RateLimited && user) {
      const target = { type: 'user', id: user.id } as const;
      await appendAudit(
        db,
        { action: 'login.limited', actor: null, ip, requestId, target },
        { onceInS: LIMITED_ONCE_IN_S },
      );
    }
    throw error;
  }
}

/** The name that was typed is not recorded: it may be a password, in the wrong field. */
async function failure(
  { db }: Api,
  code: ErrorCode,
  user: UserRow | undefined,
  { ip, requestId }: Client,
): Promise<AppError> {
  await appendAudit(db, {
    action: 'login.failed',
    actor: null,
    ip,
    requestId,
    ...(user && { target: { type: 'user', id: user.id } }),
    data: { reason: user ? code : 'unknown-account' },
  });
  return new AppError(code);
}

/** A missing code is no guess; a wrong one counts like a wrong password. */
async function passSecondFactor(
  api: Api,
  user: UserRow,
  code: string | undefined,
  attempt: Attempt,
  client: Client,
): Promise<void> {
  const factor = await findFactor(api.db, user.id);
  if (!factor?.confirmed_at) return;
  if (code === undefined) {
    await api.loginLimits.succeeded(attempt);
    throw new AppError('totp-required');
  }
  const proof = await spendCode(api.db, factor, code, api.openToken);
  if (!proof) throw await failure(api, 'invalid-totp', user, client);
  if (proof === 'code') return;
  const { ip, requestId } = client;
  await appendAudit(api.db, { action: 'totp.recovery-code-used', actor: user, ip, requestId });
}

/**
 * Opens the session unless the account was disabled, or got another password, since that was looked at: whoever did so
 * has ended all sessions, and this one would outlive them.
 */
async function openLogin({ db, settings }: Api, user: UserRow, client: Client) {
  return inTransaction(db, async transaction => {
    const account = await row<UserRow>(
      db,
      'UPDATE users SET last_login = now() WHERE id = $1 AND is_active AND password_hash = $2 RETURNING *',
      { bind: [user.id, user.password_hash], transaction },
    );
    if (!account) throw new AppError('invalid-credentials');
    const session = { userId: user.id, ttlMs: settings.auth.refreshTtlMs, client };
    const opened = await openSession(db, session, transaction);
    const { ip, requestId } = client;
    const target = { type: 'session', id: opened.familyId } as const;
    await appendAudit(
      db,
      { action: 'login.succeeded', actor: account, ip, requestId, target },
      { transaction },
    );
    return { account, opened };
  });
}

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
  async handler({ body, ip, userAgent, requestId }, api) {
    const { refreshTtlMs } = api.settings.auth;
    const client = { ip, userAgent, requestId };
    const rotation = await rotateSession(api.db, body.refresh_token, refreshTtlMs, client);
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
    scope: null,
    errors: [],
    // A dead token has nothing left to end, and the client wants to be rid of it. An API key has no session.
    admit: async (ctx, api) => ({
      actor: await api.authenticate(ctx, null).catch((error: unknown) => {
        if (error instanceof AppError && error.status < 500) return null;
        throw error;
      }),
    }),
  },
  body: schema.logout,
  success: { status: 200, schema: schema.message },
  async handler({ actor, body, ip, requestId }, { db, accessChanged }) {
    const ending = new Map<string, string>();
    if (actor && actor.sessionId !== null) ending.set(actor.sessionId, actor.id);
    const family = body.refresh_token ? await findFamily(db, body.refresh_token) : null;
    if (family) ending.set(family.familyId, family.userId);
    await inTransaction(db, async transaction => {
      for (const [familyId, userId] of ending) {
        await endFamily(db, familyId, transaction);
        const target = { type: 'session', id: familyId } as const;
        const data = { user_id: userId };
        await appendAudit(db, { action: 'logout', actor, ip, requestId, target, data }, { transaction });
      }
    });
    for (const userId of new Set(ending.values())) accessChanged(userId);
    return { body: { message: 'Signed out' } };
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

export const signInRoutes: Route[] = [login, refresh, logout];
