import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { Database } from '#src/db/connect.js';
import { dumpSchema } from '#src/db/dumpSchema.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMigrator } from '#src/db/migrator.js';
import { withDatabase } from './withDatabase.js';

const USAGE = `Usage: migrate [up]                apply what is pending
       migrate down [--to <name>]  revert the newest, or all down to and including <name>
       migrate status
       migrate dump [--check]      write docs/generated/schema.sql, or only compare it`;

/** Relative to the repository, where npm runs this. */
const DUMP = 'docs/generated/schema.sql';

/** A migration may rewrite a large table, or wait for another process that does. */
const STATEMENT_TIMEOUT_MS = 30 * 60_000;

type Command = (db: Database, options: { to?: string; check?: boolean }) => Promise<void>;

const COMMANDS = new Map<string, Command>([
  ['up', up],
  ['down', down],
  ['status', status],
  ['dump', dump],
]);

async function up(db: Database): Promise<void> {
  report('applied', await createMigrator(db).up());
  report('partition', await ensurePartitions(db));
}

async function down(db: Database, { to }: { to?: string }): Promise<void> {
  report('reverted', await createMigrator(db).down(to === undefined ? {} : { to }));
}

async function status(db: Database): Promise<void> {
  const { executed, pending } = await createMigrator(db).status();
  report('applied', executed);
  report('pending', pending);
}

async function dump(db: Database, { check = false }: { check?: boolean }): Promise<void> {
  const live = await dumpSchema(db);
  if (!check) return writeFile(DUMP, live);
  if (live === (await readFile(DUMP, 'utf8'))) return;
  console.error(`${DUMP} is not what the migrations make: write it with \`migrate dump\` and commit it`);
  process.exitCode = 1;
}

function report(what: string, names: readonly string[]): void {
  for (const name of names) console.log(`${what} ${name}`);
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { to: { type: 'string' }, check: { type: 'boolean' } },
});
const command = COMMANDS.get(positionals[0] ?? 'up');
if (command && positionals.length <= 1) {
  const options = { applicationName: 'aymc migrate', statementTimeoutMs: STATEMENT_TIMEOUT_MS };
  await withDatabase(options, db => command(db, values));
} else {
  console.error(USAGE);
  process.exitCode = 2;
}
