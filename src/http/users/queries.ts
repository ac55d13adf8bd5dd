import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { Page } from '../paging.js';
import { orderBy, SqlFilter } from '../sql.js';
import type { UserChange, UserListQuery } from './schema.js';

export async function listUsers(db: Database, query: UserListQuery, page: Page) {
  const filter = new SqlFilter();
  filter.equals('u.role', query.role);
  filter.equals('u.is_active', query.is_active);
  filter.contains(['u.username', 'u.email'], query.q);
  const total = await row<{ n: number }>(db, `SELECT count(*)::int AS n FROM users u WHERE ${filter.sql}`, {
    bind: [...filter.bind],
  });
  const found = await rows<UserRow>(
    db,
    `SELECT u.* FROM users u WHERE ${filter.sql} ${orderBy(query.sort, 'u')}
     LIMIT ${filter.value(page.limit)} OFFSET ${filter.value(page.offset)}`,
    { bind: filter.bind },
  );
  return { rows: found, total: total?.n ?? 0 };
}

/**
 * Locks the user, and with them all active admins: of two admins who take each other's role at once, the second sees
 * that nobody else would be left. FOR UPDATE, so that a server that is being created for the user (which holds its key)
 * is either seen by what follows or finds no user.
 */
export async function lockUser(db: Database, id: string, transaction: Transaction): Promise<UserRow> {
  const locked = await rows<UserRow>(
    db,
    `SELECT * FROM users WHERE id = $1 OR (role = 'admin' AND is_active) ORDER BY id FOR UPDATE`,
    { bind: [id], transaction },
  );
  const user = locked.find(each => each.id === id);
  if (!user) throw new AppError('not-found', { detail: 'There is no such user' });
  return user;
}

/** Rejects with `last-admin` when nobody but that user administrates. After lockUser. */
export async function assertOtherAdmin(db: Database, id: string, transaction: Transaction): Promise<void> {
  const other = await row(db, `SELECT 1 FROM users WHERE role = 'admin' AND is_active AND id <> $1 LIMIT 1`, {
    bind: [id],
    transaction,
  });
  if (!other) throw new AppError('last-admin');
}

export async function setAccess(
  db: Database,
  id: string,
  { role, is_active }: UserChange,
  transaction: Transaction,
): Promise<void> {
  await rows(
    db,
    'UPDATE users SET role = coalesce($2, role), is_active = coalesce($3, is_active) WHERE id = $1 RETURNING id',
    { bind: [id, role ?? null, is_active ?? null], transaction },
  );
}

/** With sessions, keys and memberships. Rejects with `user-in-use`. After lockUser. */
export async function removeUser(db: Database, id: string, transaction: Transaction): Promise<void> {
  const server = await row(db, 'SELECT 1 FROM servers WHERE user_id = $1 LIMIT 1', {
    bind: [id],
    transaction,
  });
  if (server) throw new AppError('user-in-use');
  await rows(db, 'DELETE FROM users WHERE id = $1 RETURNING id', { bind: [id], transaction });
}
