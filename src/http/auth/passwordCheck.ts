import { AppError } from '#src/domain/errors.js';
import { verifyPassword } from '#src/security/password.js';
import type { Api } from '../deps.js';
import { findUser } from './accounts.js';
import { isKnownAddress } from './sessions.js';

/**
 * Before what a stolen session alone must not do. Counts like a login. Rejects with `wrong-password` (400, since a 401
 * would sign the client out) or `rate-limited`.
 */
export async function confirmPassword(
  { db, loginLimits }: Pick<Api, 'db' | 'loginLimits'>,
  userId: string,
  password: string,
  ip: string,
): Promise<void> {
  const user = await findUser(db, userId);
  const attempt = { account: userId, ip, knownAddress: await isKnownAddress(db, userId, ip) };
  await loginLimits.attempt(attempt);
  if (!(await verifyPassword(user.password_hash, password))) throw new AppError('wrong-password');
  await loginLimits.succeeded(attempt);
}
