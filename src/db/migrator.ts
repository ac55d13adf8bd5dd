import { createHash } from 'node:crypto';
import type { Transaction } from 'sequelize';
import { Umzug } from 'umzug';
import { AppError } from '#src/domain/errors.js';
import { MIGRATIONS } from '../../migrations/index.js';
import type { Database } from './connect.js';
import { lockJob } from './locks.js';
import { inTransaction, row, rows } from './sql.js';

export interface Migrator {
  /** Applies what is pending; answers the names of what was applied. */
  up(): Promise<string[]>;
  /**
   * Reverts the newest migration, or all down to and including `to`; answers the names of what was reverted. Rejects with
   * `not-found` when `to` is not applied.
   */
  down(options?: { to?: string }): Promise<string[]>;
  status(): Promise<{ executed: string[]; pending: string[] }>;
}

interface Context {
  transaction: Transaction;
}

/**
 * Each call is one transaction under an advisory lock: two processes may migrate at once (the later one finds nothing
 * left to do), and a batch that fails leaves the schema as it was.
 */
export function createMigrator(db: Database): Migrator {
  const inBatch = <T>(work: (umzug: Umzug<Context>) => Promise<T>): Promise<T> =>
    inTransaction(db, async transaction => {
      await lockJob(db, transaction, 'migrate');
      await row(
        db,
        `CREATE TABLE IF NOT EXISTS schema_migrations (
           name       text PRIMARY KEY,
           applied_at timestamptz NOT NULL DEFAULT now()
         )`,
        { transaction },
      );
      return work(createUmzug(db, transaction));
    });

  return {
    up: () => inBatch(async umzug => names(await umzug.up())),
    down: ({ to } = {}) =>
      inBatch(async umzug => {
        if (to === undefined) return names(await umzug.down());
        if (!names(await umzug.executed()).includes(to)) {
          throw new AppError('not-found', { detail: `No migration named ${to} is applied` });
        }
        return names(await umzug.down({ to }));
      }),
    status: () =>
      inBatch(async umzug => ({
        executed: names(await umzug.executed()),
        pending: names(await umzug.pending()),
      })),
  };
}

/** Changes with every change of the schema: the key of what is built from it, such as the tests' template. */
export function schemaVersion(): string {
  return createHash('sha256').update(JSON.stringify(MIGRATIONS)).digest('hex');
}

function createUmzug(db: Database, transaction: Transaction): Umzug<Context> {
  return new Umzug<Context>({
    migrations: MIGRATIONS.map(({ name, up, down }) => ({
      name,
      up: ({ context }) => db.sequelize.query(up, context),
      down: ({ context }) => db.sequelize.query(down, context),
    })),
    context: { transaction },
    storage: {
      async executed({ context }) {
        return names(
          await rows<{ name: string }>(db, 'SELECT name FROM schema_migrations ORDER BY name', context),
        );
      },
      async logMigration({ name, context }) {
        await row(db, 'INSERT INTO schema_migrations (name) VALUES ($1)', { bind: [name], ...context });
      },
      async unlogMigration({ name, context }) {
        await row(db, 'DELETE FROM schema_migrations WHERE name = $1', { bind: [name], ...context });
      },
    },
    logger: undefined,
  });
}

function names(migrations: readonly { name: string }[]): string[] {
  return migrations.map(({ name }) => name);
}
