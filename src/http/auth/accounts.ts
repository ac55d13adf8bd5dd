import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { violatedConstraint } from '#src/db/errors.js';
import { row } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { ProfileChange, Registration } from './schema.js';

/** By username, or by email: no username holds an `@`. */
export function findAccount(db: Database, name: string): Promise<UserRow | undefined> {
  const column = name.includes('@') ? 'email' : 'username';
  return row<UserRow>(db, `SELECT * FROM users WHERE ${column} = $1`, {
    bind: [column === 'email' ? name.trim().toLowerCase() : name],
  });
}

export async function findUser(db: Database, id: string): Promise<UserRow> {
  const found = await row<UserRow>(db, 'SELECT * FROM users WHERE id = $1', { bind: [id] });
  if (!found) throw new AppError('not-found');
  return found;
}

/** Rejects with `name-taken` or `email-taken`. The role is the table's default: nobody chooses their own. */
export async function insertUser(
  db: Database,
  account: Registration,
  passwordHash: string,
  transaction: Transaction,
): Promise<UserRow> {
  await refuseLookalike(db, account.username, null, transaction);
  return orTaken(
    row<UserRow>(db, 'INSERT INTO users (username, email, password_hash) VALUES ($1, $2, $3) RETURNING *', {
      bind: [account.username, account.email, passwordHash],
      transaction,
    }),
  );
}

/** Rejects with `name-taken` or `email-taken`. */
export async function updateProfile(
  db: Database,
  id: string,
  change: ProfileChange,
  transaction: Transaction,
): Promise<UserRow> {
  if (change.username !== undefined) await refuseLookalike(db, change.username, id, transaction);
  return orTaken(
    row<UserRow>(
      db,
      'UPDATE users SET username = coalesce($2, username), email = coalesce($3, email) WHERE id = $1 RETURNING *',
      { bind: [id, change.username ?? null, change.email ?? null], transaction },
    ),
  );
}

/** `Admin` beside `admin` would only serve to deceive. */
async function refuseLookalike(
  db: Database,
  username: string,
  ownId: string | null,
  transaction: Transaction,
): Promise<void> {
  const other = await row(
    db,
    'SELECT 1 FROM users WHERE lower(username) = lower($1) AND id IS DISTINCT FROM $2',
    { bind: [username, ownId], transaction },
  );
  if (other) throw new AppError('name-taken', { detail: `The username ${username} is taken` });
}

async function orTaken(work: Promise<UserRow | undefined>): Promise<UserRow> {
  try {
    const user = await work;
    if (!user) throw new AppError('not-found');
    return user;
  } catch (error) {
    if (violatedConstraint(error) === 'users_username_key')
      throw new AppError('name-taken', { cause: error });
    if (violatedConstraint(error) === 'users_email_key') throw new AppError('email-taken', { cause: error });
    throw error;
  }
}
