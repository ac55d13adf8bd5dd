import type { Transaction } from 'sequelize';
import { AppError } from '#src/domain/errors.js';
import type { Role } from '#src/domain/permissions.js';
import type { Database } from './connect.js';
import { lockJob } from './locks.js';
import { inTransaction, row } from './sql.js';

export interface Account {
  username: string;
  email: string;
  password: string;
}

export interface SeedOptions {
  env: 'development' | 'test' | 'production';
  /** ADMIN_USERNAME, ADMIN_EMAIL, ADMIN_PASSWORD. */
  firstAdmin: Account | undefined;
  hashPassword: (password: string) => Promise<string>;
}

/** Anyone can read these here, so they exist in development only. */
const DEVELOPMENT_ACCOUNTS: readonly (Account & { role: Role })[] = [
  { username: 'admin', email: 'admin@aymc.local', password: 'admin123', role: 'admin' },
  { username: 'demo', email: 'demo@aymc.local', password: 'demo123', role: 'user' },
];

/**
 * Makes the accounts that people need to get in, and never touches one that exists: a changed password stays changed.
 * In development the well-known ones; then the configured admin, if no admin is there. Idempotent, and safe in
 * several processes at once. Answers the usernames of what was made; rejects with `name-taken` when the configured
 * admin's name or email belongs to someone who is none, since going on would leave nobody to administrate.
 */
export async function seed(db: Database, options: SeedOptions): Promise<string[]> {
  return inTransaction(db, async transaction => {
    await lockJob(db, transaction, 'seed');
    const made: string[] = [];
    const make = async (account: Account, role: Role): Promise<boolean> => {
      const inserted = await insertAccount(db, transaction, account, role, options.hashPassword);
      if (inserted) made.push(account.username);
      return inserted;
    };

    if (options.env === 'development') {
      for (const account of DEVELOPMENT_ACCOUNTS) await make(account, account.role);
    }
    const { firstAdmin } = options;
    if (firstAdmin && !(await hasAdmin(db, transaction)) && !(await make(firstAdmin, 'admin'))) {
      throw new AppError('name-taken', {
        detail: 'ADMIN_USERNAME or ADMIN_EMAIL belongs to an account that is no admin',
      });
    }
    return made;
  });
}

/** The names of active accounts that still have the password that anyone can read here. */
export async function findDevelopmentPasswords(
  db: Database,
  verifyPassword: (passwordHash: string, password: string) => Promise<boolean>,
): Promise<string[]> {
  const found: string[] = [];
  for (const { username, password } of DEVELOPMENT_ACCOUNTS) {
    const account = await row<{ password_hash: string }>(
      db,
      'SELECT password_hash FROM users WHERE username = $1 AND is_active',
      { bind: [username] },
    );
    if (account && (await verifyPassword(account.password_hash, password))) found.push(username);
  }
  return found;
}

async function hasAdmin(db: Database, transaction: Transaction): Promise<boolean> {
  const admin = await row(db, `SELECT 1 FROM users WHERE role = 'admin' LIMIT 1`, { transaction });
  return admin !== undefined;
}

/** False when the name or the email is taken; looks first, because a hash costs 50 ms. */
async function insertAccount(
  db: Database,
  transaction: Transaction,
  { username, email, password }: Account,
  role: Role,
  hashPassword: SeedOptions['hashPassword'],
): Promise<boolean> {
  const taken = await row(db, 'SELECT 1 FROM users WHERE username = $1 OR email = $2 LIMIT 1', {
    bind: [username, email],
    transaction,
  });
  if (taken) return false;
  const inserted = await row<{ id: string }>(
    db,
    `INSERT INTO users (username, email, password_hash, role) VALUES ($1, $2, $3, $4)
     ON CONFLICT DO NOTHING RETURNING id`,
    { bind: [username, email, await hashPassword(password), role], transaction },
  );
  return inserted !== undefined;
}
