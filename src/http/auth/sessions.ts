import type { Transaction } from 'sequelize';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { inTransaction, row, rows } from '#src/db/sql.js';
import type { SessionRow, UserRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { Role } from '#src/domain/permissions.js';
import type { Identity } from '#src/security/identities.js';
import { hashToken, newToken, type AccessClaims } from '#src/security/tokens.js';

/** Where a session is used from; shown to its owner. */
export interface Client {
  ip: string;
  userAgent: string;
  /** For the audit. */
  requestId: string;
}

export interface OpenedSession {
  familyId: string;
  /** Plain, for the client; the row has only its hash. */
  refreshToken: string;
}

/**
 * A client whose answer was lost, or whose two tabs refreshed at once, comes back with the token that was just
 * replaced. For so many seconds that is no theft.
 */
const GRACE_S = 60;

/** Lives as long as any token of its family does; one query by two indexes, on the way of every request. */
export async function findIdentity(db: Database, { sub, sid }: AccessClaims): Promise<Identity | null> {
  const found = await row<{ id: string; username: string; role: Role }>(
    db,
    `SELECT u.id, u.username, u.role FROM users u
     WHERE u.id = $1 AND u.is_active AND EXISTS (
       SELECT 1 FROM sessions s
       WHERE s.family_id = $2 AND s.user_id = u.id AND s.revoked_at IS NULL AND s.expires_at > now())`,
    { bind: [sub, sid] },
  );
  return found ? { ...found, sessionId: sid } : null;
}

/** Opens a family at login, or adds to one at refresh. Sweeps out what of this user's has expired. */
export async function openSession(
  db: Database,
  session: { userId: string; ttlMs: number; client: Client; familyId?: string },
  transaction?: Transaction,
): Promise<OpenedSession> {
  const refreshToken = newToken();
  await rows(db, 'DELETE FROM sessions WHERE user_id = $1 AND expires_at < now() RETURNING id', {
    bind: [session.userId],
    transaction,
  });
  const opened = await row<{ family_id: string }>(
    db,
    `INSERT INTO sessions (user_id, token_hash, family_id, ip_address, user_agent, expires_at)
     VALUES ($1, $2, coalesce($3, gen_random_uuid()), $4, $5, now() + $6 * interval '1 millisecond')
     RETURNING family_id`,
    {
      bind: [
        session.userId,
        hashToken(refreshToken),
        session.familyId ?? null,
        session.client.ip,
        session.client.userAgent,
        session.ttlMs,
      ],
      transaction,
    },
  );
  if (!opened) throw new AppError('internal', { detail: 'A session was not stored' });
  return { familyId: opened.family_id, refreshToken };
}

export type Rotation =
  { outcome: 'rotated'; user: UserRow; opened: OpenedSession } | { outcome: 'reused'; userId: string };

/**
 * One refresh token for the next of its family. One that was replaced longer ago than the grace has been stolen, by
 * whoever came first or whoever comes now: the family ends for both, and the outcome says so instead of rejecting,
 * since a rejection would roll that back. Rejects with `unauthenticated` or `account-disabled`.
 */
export async function rotateSession(
  db: Database,
  token: string,
  ttlMs: number,
  client: Client,
): Promise<Rotation> {
  return inTransaction(db, transaction => rotate(db, transaction, token, ttlMs, client));
}

async function rotate(
  db: Database,
  transaction: Transaction,
  token: string,
  ttlMs: number,
  client: Client,
): Promise<Rotation> {
  const session = await row<SessionRow & { stale: boolean }>(
    db,
    `SELECT *, coalesce(replaced_at < now() - interval '${GRACE_S} seconds', false) AS stale
     FROM sessions WHERE token_hash = $1 AND expires_at > now() FOR UPDATE`,
    { bind: [hashToken(token)], transaction },
  );
  if (!session || session.revoked_at) {
    throw new AppError('unauthenticated', { detail: 'The refresh token is not valid' });
  }
  if (session.stale) {
    await endFamily(db, session.family_id, transaction);
    const { ip, requestId } = client;
    const target = { type: 'user', id: session.user_id } as const;
    const data = { session_id: session.family_id };
    await appendAudit(
      db,
      { action: 'token.reused', actor: null, ip, requestId, target, data },
      { transaction },
    );
    return { outcome: 'reused', userId: session.user_id };
  }
  const user = await row<UserRow>(db, 'SELECT * FROM users WHERE id = $1', {
    bind: [session.user_id],
    transaction,
  });
  if (!user?.is_active) throw new AppError('account-disabled');
  const next = { userId: user.id, ttlMs, client, familyId: session.family_id };
  const opened = await openSession(db, next, transaction);
  await rows(
    db,
    `UPDATE sessions SET replaced_at = coalesce(replaced_at, now()),
       replaced_by = coalesce(replaced_by, (SELECT id FROM sessions WHERE token_hash = $2))
     WHERE id = $1 RETURNING id`,
    { bind: [session.id, hashToken(opened.refreshToken)], transaction },
  );
  return { outcome: 'rotated', user, opened };
}

/** Revoked and not deleted, so that a stolen token that comes back is still known as such until it expires. */
export async function endFamily(db: Database, familyId: string, transaction?: Transaction): Promise<void> {
  await rows(
    db,
    'UPDATE sessions SET revoked_at = now() WHERE family_id = $1 AND revoked_at IS NULL RETURNING id',
    {
      bind: [familyId],
      transaction,
    },
  );
}

/** Of one user, all, or all but the session that is kept. */
export async function endFamiliesOf(
  db: Database,
  userId: string,
  keptFamilyId: string | null,
  transaction: Transaction,
): Promise<void> {
  await rows(
    db,
    `UPDATE sessions SET revoked_at = now()
     WHERE user_id = $1 AND family_id IS DISTINCT FROM $2::uuid AND revoked_at IS NULL RETURNING id`,
    { bind: [userId, keptFamilyId], transaction },
  );
}

/** One login, with all tokens that have followed it. */
export interface SessionSummary {
  id: string;
  ip_address: string | null;
  user_agent: string | null;
  created_at: Date;
  last_used_at: Date;
  expires_at: Date;
}

/** A user's logins that still live, at most a thousand. */
export async function listFamilies(db: Database, userId: string): Promise<SessionSummary[]> {
  return rows<SessionSummary>(
    db,
    `SELECT DISTINCT ON (family_id) family_id AS id, ip_address, user_agent, expires_at, created_at AS last_used_at,
       min(created_at) OVER (PARTITION BY family_id) AS created_at
     FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()
     ORDER BY family_id, sessions.created_at DESC LIMIT 1000`,
    { bind: [userId] },
  );
}

/** False when the user has no such living session. */
export async function endFamilyOf(
  db: Database,
  userId: string,
  familyId: string,
  transaction: Transaction,
): Promise<boolean> {
  const ended = await rows(
    db,
    `UPDATE sessions SET revoked_at = now()
     WHERE family_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING id`,
    { bind: [familyId, userId], transaction },
  );
  return ended.length > 0;
}

/** Whether the user has signed in from that address within the life of a refresh token. Null: a user who does not exist. */
export async function isKnownAddress(db: Database, userId: string | null, ip: string): Promise<boolean> {
  const found = await row(db, 'SELECT 1 FROM sessions WHERE user_id = $1 AND ip_address = $2 LIMIT 1', {
    bind: [userId, ip],
  });
  return found !== undefined;
}

/** Null when no living session has that token. */
export async function findFamily(
  db: Database,
  token: string,
): Promise<{ familyId: string; userId: string } | null> {
  const found = await row<SessionRow>(db, 'SELECT * FROM sessions WHERE token_hash = $1', {
    bind: [hashToken(token)],
  });
  return found ? { familyId: found.family_id, userId: found.user_id } : null;
}
