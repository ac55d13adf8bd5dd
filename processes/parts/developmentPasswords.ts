import { findDevelopmentPasswords } from '#src/db/seed.js';
import { AppError } from '#src/domain/errors.js';
import { verifyPassword } from '#src/security/password.js';
import type { Core } from './core.js';

/**
 * A database that began with `npm start` may have come into production with its well-known accounts. A Postgres that is
 * away is no reason not to start: it is looked at with the next one.
 */
export async function refuseDevelopmentPasswords({ config, db, logger }: Core): Promise<void> {
  if (config.runtime.env !== 'production') return;
  const names = await findDevelopmentPasswords(db, verifyPassword).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    logger.warn({ err: error }, 'it is not known whether accounts have well-known passwords');
    return [];
  });
  if (names.length === 0) return;
  throw new AppError('invalid-request', {
    detail: `Change the passwords of ${names.join(' and ')}: everybody knows them. Start with ENV=development, on 127.0.0.1, to do so`,
  });
}
