import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { TotpFactorRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { hashToken } from '#src/security/tokens.js';
import { matchTotp, newRecoveryCode, normalRecoveryCode } from '#src/security/totp.js';

const RECOVERY_CODES = 10;

/** Undefined for who has none; one that was never verified counts only to who asks for it. */
export async function findFactor(
  db: Database,
  userId: string,
  transaction?: Transaction,
): Promise<TotpFactorRow | undefined> {
  return row<TotpFactorRow>(db, 'SELECT * FROM totp_factors WHERE user_id = $1', {
    bind: [userId],
    transaction,
  });
}

/** Replaces one that was not verified. Rejects with `totp-enabled`. */
export async function enrolFactor(db: Database, userId: string, sealedSecret: string): Promise<void> {
  const enrolled = await row(
    db,
    `INSERT INTO totp_factors AS f (user_id, secret) VALUES ($1, $2)
     ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = 0, created_at = now()
     WHERE f.confirmed_at IS NULL RETURNING user_id`,
    { bind: [userId, sealedSecret] },
  );
  if (!enrolled) throw new AppError('totp-enabled');
}

export type Proof = 'code' | 'recovery-code';

/**
 * Spends a code: a time step is taken once, and so is a recovery code, however many requests bring it at once. Null
 * when it is wrong or was used before.
 */
export async function spendCode(
  db: Database,
  factor: TotpFactorRow,
  code: string,
  openSecret: (sealed: string) => string,
): Promise<Proof | null> {
  const step = matchTotp(openSecret(factor.secret), code.replaceAll(' ', ''));
  if (step !== null) {
    const taken = await row(
      db,
      'UPDATE totp_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2 RETURNING user_id',
      { bind: [factor.user_id, step] },
    );
    return taken ? 'code' : null;
  }
  const spent = await row(
    db,
    'DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING id',
    { bind: [factor.user_id, hashToken(normalRecoveryCode(code))] },
  );
  return spent ? 'recovery-code' : null;
}

/** From now on asked for at each login. Answers new recovery codes, plain; undefined when it was confirmed before. */
export async function confirmFactor(
  db: Database,
  userId: string,
  transaction: Transaction,
): Promise<string[] | undefined> {
  const confirmed = await row(
    db,
    'UPDATE totp_factors SET confirmed_at = now() WHERE user_id = $1 AND confirmed_at IS NULL RETURNING user_id',
    { bind: [userId], transaction },
  );
  if (!confirmed) return undefined;
  const codes = Array.from({ length: RECOVERY_CODES }, newRecoveryCode);
  await rows(
    db,
    'INSERT INTO recovery_codes (user_id, code_hash) SELECT $1, unnest($2::text[]) RETURNING id',
    { bind: [userId, codes.map(code => hashToken(normalRecoveryCode(code)))], transaction },
  );
  return codes;
}

/** With its recovery codes. False when there was none. */
export async function removeFactor(db: Database, userId: string, transaction: Transaction): Promise<boolean> {
  const removed = await row(db, 'DELETE FROM totp_factors WHERE user_id = $1 RETURNING user_id', {
    bind: [userId],
    transaction,
  });
  return removed !== undefined;
}
