import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMigrator, schemaVersion } from '#src/db/migrator.js';
import { testServerUrl } from './postgres.js';

export interface TestDatabase {
  /** For processes that the test starts. */
  url: string;
  db: Database;
  /** Closes `db`, throws everyone else out and removes the database. */
  drop(): Promise<void>;
}

/**
 * A migrated database without rows, for one test file: made in its `before`, dropped in its `after`. It is a clone of
 * a template that the first caller on the server makes, which is quicker than migrating.
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = await testServerUrl();
  const database = await withClient(server, async client =>
    createDatabase(client, server, await ensureTemplate(client, server)),
  );
  // A template that has lain on the server since yesterday lacks a day.
  await ensurePartitions(database.db);
  return database;
}

/** A database with nothing in it, for tests of the migrations themselves. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  const server = await testServerUrl();
  return withClient(server, client => createDatabase(client, server, 'template1'));
}

async function createDatabase(client: pg.Client, server: string, template: string): Promise<TestDatabase> {
  const name = `aymc_test_${process.pid}_${randomBytes(4).toString('hex')}`;
  await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
  const url = databaseUrl(server, name);
  const db = connectDatabase({ url, poolMax: 10, applicationName: name });
  return {
    url,
    db,
    async drop() {
      await db.close();
      await withClient(server, admin => admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
    },
  };
}

const TEMPLATE_LOCK = 0x41594d43;

/**
 * The template of this schema. Named after what the migrations say, so that a change of them makes a new one; built
 * under another name, so that a run which died on the way leaves nothing that looks finished.
 */
async function ensureTemplate(client: pg.Client, server: string): Promise<string> {
  const template = `aymc_template_${schemaVersion().slice(0, 12)}`;
  const unfinished = `${template}_unfinished`;
  await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template]);
    if (rowCount === 1) return template;
    await client.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${unfinished} TEMPLATE template1`);
    await migrate(databaseUrl(server, unfinished));
    await client.query(`ALTER DATABASE ${unfinished} RENAME TO ${template}`);
    return template;
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [TEMPLATE_LOCK]);
  }
}

async function migrate(url: string): Promise<void> {
  const db = connectDatabase({ url, poolMax: 2, applicationName: 'test template' });
  try {
    await createMigrator(db).up();
    await ensurePartitions(db);
  } finally {
    await db.close();
  }
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // A connection that breaks fails the query that waits for it; between queries nobody needs to know.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}
