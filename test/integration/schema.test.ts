import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { Model, ModelStatic } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { dumpSchema } from '#src/db/dumpSchema.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { violatedConstraint } from '#src/db/errors.js';
import { createMigrator } from '#src/db/migrator.js';
import { row, rows } from '#src/db/sql.js';
import * as types from '#src/db/types.js';
import { SEVERITIES } from '#src/domain/alert.js';
import { OPERATION_KINDS, OPERATION_STATES, OPERATION_TRIGGERS } from '#src/domain/operation.js';
import { PERMISSIONS, ROLES } from '#src/domain/permissions.js';
import { DESIRED_STATES, SERVER_STATUSES } from '#src/domain/serverState.js';
import { WEBHOOK_FORMATS } from '#src/domain/webhook.js';
import { buildAgent, buildOperation, buildServer, buildUser } from '#test/build.js';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('migrations', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createEmptyDatabase();
  });
  afterEach(() => database.drop());

  it('lead up, down and up again to the same schema, and down to nothing', async () => {
    const migrator = createMigrator(database.db);
    const applied = await migrator.up();
    const first = await dumpSchema(database.db);

    expect(await migrator.down({ to: applied[0] ?? '' })).to.deep.equal(applied.toReversed());
    expect(await dumpSchema(database.db)).to.equal('');
    expect(await relations(database.db)).to.deep.equal(['schema_migrations', 'schema_migrations_pkey']);

    expect(await migrator.up()).to.deep.equal(applied);
    expect(await dumpSchema(database.db)).to.equal(first);
  });

  it('can each be reverted alone and applied again', async () => {
    const migrator = createMigrator(database.db);
    const applied = await migrator.up();
    const whole = await dumpSchema(database.db);
    for (const name of applied.toReversed()) {
      await migrator.down();
      expect((await migrator.status()).pending).to.include(name);
    }
    await migrator.up();
    expect(await dumpSchema(database.db)).to.equal(whole);
  });

  it('are applied once when two processes migrate at the same time', async () => {
    const [one, other] = await Promise.all([
      createMigrator(database.db).up(),
      createMigrator(database.db).up(),
    ]);
    expect([one.length, other.length].sort()).to.deep.equal([0, Math.max(one.length, other.length)]);
    expect((await createMigrator(database.db).status()).pending).to.deep.equal([]);
  });

  it('make what the committed dump says, and the dump makes it too', async () => {
    const committed = await readFile('docs/generated/schema.sql', 'utf8');
    await database.db.sequelize.query(committed);
    expect(await dumpSchema(database.db)).to.equal(committed);

    const migrated = await createTestDatabase();
    try {
      expect(await dumpSchema(migrated.db)).to.equal(committed);
    } finally {
      await migrated.drop();
    }
  });
});

describe('schema', () => {
  let database: TestDatabase;
  let db: Database;
  before(async () => {
    database = await createTestDatabase();
    ({ db } = database);
  });
  after(() => database.drop());

  it('has a model for every table', async () => {
    const tables = await rows<{ name: string }>(
      db,
      `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
         AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'schema_migrations'`,
    );
    const modelled = Object.values(db.models).map(model => model.tableName);
    expect(modelled).to.have.members(tables.map(table => table.name));
  });

  it('agrees with every model about each column: name, type, nullability, default', async () => {
    await db.sequelize.createSchema('modelled', {});
    for (const model of Object.values<ModelStatic<Model>>(db.models)) {
      await model.schema('modelled').sync();
      const live = await columns(db, `public.${model.tableName}`);
      expect(live).not.to.deep.equal([]);
      expect(await columns(db, `modelled.${model.tableName}`), model.tableName).to.deep.equal(live);
    }
  });

  const ENUMERATIONS: Record<string, readonly string[]> = {
    users_role_check: ROLES,
    agents_status_check: types.AGENT_STATUSES,
    agents_tls_mode_check: types.TLS_MODES,
    sweeps_verdict_check: types.SWEEP_VERDICTS,
    servers_server_type_check: types.SERVER_TYPES,
    upstream_versions_server_type_check: types.SERVER_TYPES,
    servers_status_check: SERVER_STATUSES,
    servers_desired_state_check: DESIRED_STATES,
    servers_failover_policy_check: types.FAILOVER_POLICIES,
    server_members_permissions_check: PERMISSIONS,
    operations_kind_check: OPERATION_KINDS,
    operations_state_check: OPERATION_STATES,
    operations_trigger_check: OPERATION_TRIGGERS,
    logs_level_check: types.LOG_LEVELS,
    plugins_source_check: types.PLUGIN_SOURCES,
    backups_backup_type_check: types.BACKUP_TYPES,
    backups_status_check: types.BACKUP_STATUSES,
    backups_compression_check: types.COMPRESSIONS,
    backups_trigger_check: types.BACKUP_TRIGGERS,
    backups_storage_check: types.BACKUP_STORAGES,
    notifications_severity_check: SEVERITIES,
    webhooks_format_check: WEBHOOK_FORMATS,
  };

  it('allows the values that the code knows and no others', async () => {
    const checks = await rows<{ name: string; definition: string }>(
      db,
      `SELECT k.conname AS name, pg_get_constraintdef(k.oid) AS definition
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
       WHERE contype = 'c' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition`,
    );
    const allowed = checks.flatMap(({ name, definition }) => {
      const values = [...definition.matchAll(/'([^']+)'::text/g)].map(match => match[1]);
      return values.length > 0 ? [[name, values.sort()] as const] : [];
    });
    expect(Object.fromEntries(allowed)).to.deep.equal(
      Object.fromEntries(Object.entries(ENUMERATIONS).map(([name, values]) => [name, [...values].sort()])),
    );
  });

  it('takes what belongs to a server with it, and leaves the ledger', async () => {
    const server = await buildServer(db);
    const op = await buildOperation(db, { server_id: server.id });
    const member = await buildUser(db);
    await db.models.ServerMember.create({ server_id: server.id, user_id: member.id, permissions: ['power'] });
    await db.models.Backup.create({ server_id: server.id, filename: 'a.tar.gz', path: '/b/a.tar.gz' });
    await db.models.BackupConfig.create({ server_id: server.id });
    await db.models.LogCursor.create({ server_id: server.id, run_id: 'r1' });
    await db.models.Log.create({ server_id: server.id, message: 'Done (1.2s)!' });
    await db.models.OperationEvent.create({ op_id: op.id, seq: 1, event_key: 'accepted', type: 'accepted' });

    await db.models.Agent.destroy({ where: { id: server.agent_id } });

    const where = { server_id: server.id };
    expect(await db.models.Server.count({ where: { id: server.id } })).to.equal(0);
    expect(await db.models.ServerMember.count({ where })).to.equal(0);
    expect(await db.models.Backup.count({ where })).to.equal(0);
    expect(await db.models.BackupConfig.count({ where })).to.equal(0);
    expect(await db.models.LogCursor.count({ where })).to.equal(0);
    expect(await db.models.Operation.count({ where })).to.equal(1);
    expect(await db.models.OperationEvent.count({ where: { op_id: op.id } })).to.equal(1);
    expect(await db.models.Log.count({ where })).to.equal(1);
  });

  it('keeps a backup whose maker is gone', async () => {
    const maker = await buildUser(db);
    const { id: server_id } = await buildServer(db);
    const backup = await db.models.Backup.create({
      server_id,
      filename: 'a',
      path: 'a',
      created_by: maker.id,
    });
    await maker.destroy();
    await backup.reload();
    expect(backup.created_by).to.equal(null);
  });

  it('gives a port to one server of an agent, and leaves servers without one alone', async () => {
    const { id: agent_id } = await buildAgent(db);
    await buildServer(db, { agent_id, port: 25565 });
    expect(violatedConstraint(await refusal(buildServer(db, { agent_id, port: 25565 })))).to.equal(
      'servers_agent_id_port_key',
    );
    await buildServer(db, { port: 25565 });
    await buildServer(db, { agent_id, port: null });
    await buildServer(db, { agent_id, port: null });
  });

  it('accepts an idempotency key once per requester, and once for all that nobody requested', async () => {
    const { id: server_id, user_id } = await buildServer(db);
    const other = await buildUser(db);
    const ask = (requested_by: string | null) =>
      buildOperation(db, { server_id, requested_by, idempotency_key: 'k' });
    for (const requester of [user_id, other.id, null]) await ask(requester);
    for (const requester of [user_id, null]) {
      expect(violatedConstraint(await refusal(ask(requester)))).to.equal('operations_idempotency_key');
    }
  });

  it('keeps updated_at itself, and a saved instance shows it', async () => {
    const server = await buildServer(db);
    const before = server.updated_at;
    await untilAfter(before);
    await server.update({ name: 'renamed' });
    expect(server.updated_at).to.be.greaterThan(before);
    await untilAfter(server.updated_at);
    const plain = await row<{ updated_at: Date }>(
      db,
      'UPDATE servers SET port = NULL WHERE id = $1 RETURNING updated_at',
      { bind: [server.id] },
    );
    expect(plain?.updated_at).to.be.greaterThan(server.updated_at);
  });

  describe('partitions', () => {
    it('stand ready for today and the seven days ahead', async () => {
      const names = (await relations(db)).filter(name => /^logs_\d{8}$/.test(name));
      expect(names).to.have.length(8);
      expect(await ensurePartitions(db)).to.deep.equal([]);
    });

    it('take the line of their day', async () => {
      await db.models.Log.create({ server_id: crypto.randomUUID(), message: 'today' });
      const found = await row<{ partition: string; today: string }>(
        db,
        `SELECT tableoid::regclass::text AS partition, to_char(now() AT TIME ZONE 'UTC', '"logs_"YYYYMMDD') AS today
         FROM logs WHERE message = 'today'`,
      );
      expect(found?.partition).to.equal(found?.today);
    });

    it('are made once when several processes ask at the same time', async () => {
      const made = await Promise.all([1, 2, 3].map(() => ensurePartitions(db, 9)));
      expect(made.map(names => names.length).sort()).to.deep.equal([0, 0, 6]);
    });

    it('take over what came before them, and lose nothing', async () => {
      const server_id = crypto.randomUUID();
      const late = new Date(Date.now() + 11 * 86_400_000);
      await db.models.Log.create({ server_id, message: 'early bird', timestamp: late });
      const before = await db.models.Log.findOne({ where: { server_id } });

      expect(await ensurePartitions(db, 12)).to.have.length(9);

      const after = await row<{ id: number; partition: string }>(
        db,
        'SELECT id, tableoid::regclass::text AS partition FROM logs WHERE server_id = $1',
        { bind: [server_id] },
      );
      expect(after?.partition).to.match(/^logs_\d{8}$/);
      expect(after?.id).to.equal(before?.id);
    });
  });
});

/** A Date has milliseconds: two writes within one of them could not be told apart. */
async function untilAfter(time: Date): Promise<void> {
  await waitFor(() => Date.now() > time.getTime(), { everyMs: 1, what: 'the next millisecond' });
}

async function relations(db: Database): Promise<string[]> {
  const found = await rows<{ name: string }>(
    db,
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname`,
  );
  return found.map(({ name }) => name);
}

/** As PostgreSQL understands them, so that both sides are spelled alike. */
function columns(db: Database, table: string) {
  return rows(
    db,
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^nextval.*', 'nextval') AS default
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname`,
    { bind: [table] },
  );
}

async function refusal(attempt: Promise<unknown>): Promise<unknown> {
  try {
    await attempt;
  } catch (error) {
    return error;
  }
  return expect.fail('it was accepted');
}
