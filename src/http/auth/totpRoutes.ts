import type { AuditAction } from '#src/domain/audit.js';
import { appendAudit } from '#src/db/audit.js';
import { inTransaction } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { newTotpSecret, totpUri } from '#src/security/totp.js';
import type { Api } from '../deps.js';
import { inPerson, type InPerson } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { confirmPassword } from './passwordCheck.js';
import * as schema from './schema.js';
import { confirmFactor, enrolFactor, findFactor, removeFactor, spendCode } from './secondFactor.js';
import { isKnownAddress } from './sessions.js';

const tag = 'auth';

const enrol = defineRoute({
  operationId: 'enrolTotp',
  method: 'POST',
  path: '/auth/totp/enrol',
  tag,
  summary: 'Begin with a second factor',
  description: 'Takes effect when a first code of it was verified. Repeated before that, it begins anew.',
  auth: inPerson,
  body: schema.totpEnrolment,
  success: { status: 200, schema: schema.totpSecret },
  errors: ['wrong-password', 'totp-enabled', 'rate-limited'],
  async handler({ actor, body, ip }, api) {
    await confirmPassword(api, actor.id, body.password, ip);
    const secret = newTotpSecret();
    await enrolFactor(api.db, actor.id, api.sealToken(secret));
    return { body: { secret, otpauth_uri: totpUri(secret, actor.username) } };
  },
});

const verify = defineRoute({
  operationId: 'verifyTotp',
  method: 'POST',
  path: '/auth/totp/verify',
  tag,
  summary: 'Enable the second factor with a first code of it',
  description: 'From now on each login asks for a code. The answer carries recovery codes, once.',
  auth: inPerson,
  body: schema.totpVerification,
  success: { status: 200, schema: schema.recoveryCodes },
  errors: ['totp-not-enrolled', 'totp-enabled', 'wrong-totp', 'rate-limited'],
  async handler({ actor, body, ip, requestId }, api) {
    const { db } = api;
    const factor = await findFactor(db, actor.id);
    if (!factor) throw new AppError('totp-not-enrolled');
    if (factor.confirmed_at) throw new AppError('totp-enabled');
    await spend(api, factor, body.totp, ip);
    const codes = await inTransaction(db, async transaction => {
      const made = await confirmFactor(db, actor.id, transaction);
      if (made) await appendAudit(db, entry('totp.enabled', actor, ip, requestId), { transaction });
      return made;
    });
    if (!codes) throw new AppError('totp-enabled');
    return { body: { recovery_codes: codes } };
  },
});

const disable = defineRoute({
  operationId: 'disableTotp',
  method: 'POST',
  path: '/auth/totp/disable',
  tag,
  summary: 'Go without a second factor again',
  auth: inPerson,
  body: schema.totpDisabling,
  success: { status: 200, schema: schema.message },
  errors: ['totp-not-enrolled', 'wrong-password', 'wrong-totp', 'rate-limited'],
  async handler({ actor, body, ip, requestId }, api) {
    const { db } = api;
    await confirmPassword(api, actor.id, body.password, ip);
    const factor = await findFactor(db, actor.id);
    if (!factor?.confirmed_at) throw new AppError('totp-not-enrolled');
    await spend(api, factor, body.totp, ip);
    await inTransaction(db, async transaction => {
      await removeFactor(db, actor.id, transaction);
      await appendAudit(db, entry('totp.disabled', actor, ip, requestId), { transaction });
    });
    return { body: { message: 'The second factor is disabled' } };
  },
});

/** Six digits could be guessed, so a wrong code counts like a wrong password. */
async function spend(
  api: Api,
  factor: Parameters<typeof spendCode>[1],
  code: string,
  ip: string,
): Promise<void> {
  const account = factor.user_id;
  const attempt = { account, ip, knownAddress: await isKnownAddress(api.db, account, ip) };
  await api.loginLimits.attempt(attempt);
  if (!(await spendCode(api.db, factor, code, api.openToken))) throw new AppError('wrong-totp');
  await api.loginLimits.succeeded(attempt);
}

function entry(action: AuditAction, actor: InPerson['actor'], ip: string, requestId: string) {
  return { action, actor, ip, requestId, target: { type: 'user', id: actor.id } } as const;
}

export const totpRoutes: Route[] = [enrol, verify, disable];
