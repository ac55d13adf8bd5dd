import type { Transaction } from 'sequelize';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { ApiKeyRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { Role } from '#src/domain/permissions.js';
import type { Scope } from '#src/domain/scopes.js';
import type { Principal } from '#src/security/identities.js';

/** Enough for every script of a user, and a bound for the list. */
const MAX_KEYS = 50;
/** A script that goes on with a key that has expired is one line an hour. */
const EXPIRED_ONCE_IN_S = 3_600;

interface FoundKey {
  id: string;
  scopes: Scope[];
  expires_at: Date | null;
  has_expired: boolean;
  user_id: string;
  username: string;
  role: Role;
}

/** Who a key stands for, with its owner's role of this moment. Writes down that it is used, at most once a minute. */
export async function findKeyPrincipal(db: Database, keyHash: string): Promise<Principal | null> {
  const key = await row<FoundKey>(
    db,
    `SELECT k.id, k.scopes, k.expires_at, coalesce(k.expires_at <= now(), false) AS has_expired,
       u.id AS user_id, u.username, u.role
     FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.key_hash = $1 AND u.is_active`,
    { bind: [keyHash] },
  );
  if (!key) return null;
  const { user_id: id, username, role, scopes } = key;
  if (key.has_expired) {
    const target = { type: 'api-key', id: key.id } as const;
    await appendAudit(
      db,
      { action: 'api-key.expired-use', actor: { id, username }, target },
      { onceInS: EXPIRED_ONCE_IN_S },
    );
    throw new AppError('token-expired', { detail: 'The API key has expired' });
  }
  await rows(
    db,
    `UPDATE api_keys SET last_used_at = now()
     WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') RETURNING id`,
    { bind: [key.id] },
  );
  return { user: { id, username, role, scopes, sessionId: null }, expiresAt: key.expires_at };
}

export async function listKeys(db: Database, userId: string): Promise<ApiKeyRow[]> {
  return rows<ApiKeyRow>(db, 'SELECT * FROM api_keys WHERE user_id = $1 ORDER BY created_at DESC, id', {
    bind: [userId],
  });
}

/** Rejects with `too-many-keys`. */
export async function insertKey(
  db: Database,
  key: {
    userId: string;
    name: string;
    prefix: string;
    keyHash: string;
    scopes: Scope[];
    expiresAt: Date | null;
  },
  transaction: Transaction,
): Promise<ApiKeyRow> {
  // Of two requests at once the second counts what the first has made.
  await rows(db, 'SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE', { bind: [key.userId], transaction });
  const inserted = await row<ApiKeyRow>(
    db,
    `INSERT INTO api_keys (user_id, name, prefix, key_hash, scopes, expires_at)
     SELECT $1, $2, $3, $4, $5::text[], $6 WHERE (SELECT count(*) FROM api_keys WHERE user_id = $1) < ${MAX_KEYS}
     RETURNING *`,
    { bind: [key.userId, key.name, key.prefix, key.keyHash, key.scopes, key.expiresAt], transaction },
  );
  if (!inserted) throw new AppError('too-many-keys', { detail: `A user can have ${MAX_KEYS} API keys` });
  return inserted;
}

/** Rejects with `not-found`, also for another user's. */
export async function deleteKey(
  db: Database,
  userId: string,
  id: string,
  transaction: Transaction,
): Promise<ApiKeyRow> {
  const deleted = await row<ApiKeyRow>(
    db,
    'DELETE FROM api_keys WHERE id = $1 AND user_id = $2 RETURNING *',
    { bind: [id, userId], transaction },
  );
  if (!deleted) throw new AppError('not-found', { detail: 'You have no such API key' });
  return deleted;
}
