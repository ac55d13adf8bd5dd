import type { Transaction } from 'sequelize';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';

/** The account that a link to that address is for; also stores its token's hash. Undefined when there is no such account. */
export async function storeReset(
  db: Database,
  { address, tokenHash, ttlMs }: { address: string; tokenHash: string; ttlMs: number },
): Promise<{ id: string; username: string } | undefined> {
  return row(
    db,
    `WITH account AS (SELECT id, username FROM users WHERE email = $1 AND is_active),
     swept AS (DELETE FROM password_resets r USING account a WHERE r.user_id = a.id AND r.expires_at < now()),
     stored AS (
       INSERT INTO password_resets (user_id, token_hash, expires_at)
       SELECT id, $2, now() + $3 * interval '1 millisecond' FROM account)
     SELECT id, username FROM account`,
    { bind: [address, tokenHash, ttlMs] },
  );
}

export async function isResetValid(db: Database, tokenHash: string): Promise<boolean> {
  const found = await row(
    db,
    'SELECT 1 FROM password_resets WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()',
    { bind: [tokenHash] },
  );
  return found !== undefined;
}

/**
 * Spends the token, and with it every other one of its user. Answers whose it was, or undefined when it was spent or is
 * too old: of two at once one wins.
 */
export async function spendReset(
  db: Database,
  tokenHash: string,
  transaction: Transaction,
): Promise<string | undefined> {
  const spent = await row<{ user_id: string }>(
    db,
    `UPDATE password_resets SET used_at = now()
     WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now() RETURNING user_id`,
    { bind: [tokenHash], transaction },
  );
  if (!spent) return undefined;
  await rows(
    db,
    'UPDATE password_resets SET used_at = now() WHERE user_id = $1 AND used_at IS NULL RETURNING id',
    { bind: [spent.user_id], transaction },
  );
  return spent.user_id;
}
