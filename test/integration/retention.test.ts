import { expect } from 'chai';
import { appendAudit } from '#src/db/audit.js';
import { storeConsole } from '#src/db/consoleStorage.js';
import type { Database } from '#src/db/connect.js';
import {
  deleteAgedAudit,
  deleteAgedCursors,
  deleteAgedNotifications,
  deleteAgedRows,
  deleteServerRows,
  dropPartition,
  listAgedPartitions,
  listServerPartitions,
} from '#src/db/retention.js';
import { row, rows } from '#src/db/sql.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';

const DAY_MS = 86_400_000;

describe('retention', () => {
  let database: TestDatabase;
  let db: Database;
  beforeEach(async () => {
    database = await createTestDatabase();
    ({ db } = database);
  });
  afterEach(() => database.drop());

  /** A day's partition with a line in it; answers its name. */
  async function dayAgo(days: number): Promise<string> {
    const at = new Date(Date.now() - days * DAY_MS);
    const day = (date: Date) => date.toISOString().slice(0, 10);
    const name = `logs_${day(at).replaceAll('-', '')}`;
    const until = day(new Date(at.getTime() + DAY_MS));
    await row(
      db,
      `CREATE TABLE ${name} PARTITION OF logs FOR VALUES FROM ('${day(at)} 00:00+00') TO ('${until} 00:00+00')`,
    );
    await db.models.Log.create({ server_id: crypto.randomUUID(), message: name, timestamp: at });
    return name;
  }
  const aged = async (keepMs: number) =>
    (await listAgedPartitions(db, 'logs', keepMs)).map(({ name }) => name);
  const lines = () => db.models.Log.count();

  it('takes days that are wholly older, and never today', async () => {
    const [oldest, recent] = [await dayAgo(40), await dayAgo(5)];
    await db.models.Log.create({ server_id: crypto.randomUUID(), message: 'today' });
    expect(await aged(14 * DAY_MS)).to.deep.equal([oldest]);
    expect(await aged(0)).to.deep.equal([oldest, recent]);
    expect(await aged(5 * DAY_MS)).to.deep.equal([oldest]);
  });

  it('drops a day once, also when two do it at the same time', async () => {
    const name = await dayAgo(40);
    const day = { parent: 'logs' as const, name };
    expect(await Promise.all([dropPartition(db, day), dropPartition(db, day)])).to.include(true);
    expect(await lines()).to.equal(0);
    expect(await dropPartition(db, day)).to.equal(true);
  });

  it('gives way to a long reader, so that writers do not wait behind it', async () => {
    const name = await dayAgo(40);
    const day = { parent: 'logs' as const, name };
    const reader = await db.sequelize.transaction();
    try {
      await row(db, 'SELECT count(*) FROM logs', { transaction: reader });
      const began = performance.now();
      const dropping = dropPartition(db, day);
      await db.models.Log.create({ server_id: crypto.randomUUID(), message: 'meanwhile' });
      expect(await dropping).to.equal(false);
      expect(performance.now() - began).to.be.below(5_000);
    } finally {
      await reader.commit();
    }
    expect(await dropPartition(db, day)).to.equal(true);
    expect(await lines()).to.equal(1);
  });

  it('removes aged rows that no day was made for, and leaves the young', async () => {
    const server_id = crypto.randomUUID();
    for (const days of [40, 20, 10]) {
      const timestamp = new Date(Date.now() - days * DAY_MS);
      await db.models.Log.create({ server_id, message: `${days}`, timestamp });
    }
    expect(await deleteAgedRows(db, 'logs', 14 * DAY_MS)).to.deep.equal({ deleted: 2, isLast: true });
    expect(
      (await db.models.Log.findAll({ where: { server_id } })).map(({ message }) => message),
    ).to.deep.equal(['10']);
  });

  it('forgets how far old runs were stored, but not a server’s newest, however old', async () => {
    const { id: server_id } = await buildServer(db);
    const cursor = (run_id: string, days: number | null) =>
      db.models.LogCursor.create({
        server_id,
        run_id,
        last_at: days === null ? null : new Date(Date.now() - days * DAY_MS),
      });
    await cursor('oldest', 40);
    await cursor('newest', 20);
    await cursor('silent and young', null);
    expect(await deleteAgedCursors(db, 14 * DAY_MS)).to.deep.equal({ deleted: 1, isLast: true });
    const left = await db.models.LogCursor.findAll({ where: { server_id } });
    expect(left.map(({ run_id }) => run_id)).to.have.members(['newest', 'silent and young']);
  });

  it('removes notifications and audit entries that are past their time, and no younger ones', async () => {
    const { id } = await buildUser(db);
    for (const days of [400, 100, 1]) {
      const at = new Date(Date.now() - days * DAY_MS);
      await appendAudit(db, { action: 'logout', actor: null, ip: '127.0.0.1', requestId: `${days}` });
      await rows(db, 'UPDATE audit_log SET at = $1 WHERE request_id = $2 RETURNING id', {
        bind: [at, `${days}`],
      });
      await rows(
        db,
        `INSERT INTO notifications (user_id, seq, type, title, created_at) VALUES ($1, $2, 'alert', 'old', $3)
         RETURNING id`,
        { bind: [id, days, at] },
      );
    }
    expect(await deleteAgedNotifications(db, 90 * DAY_MS)).to.deep.equal({ deleted: 2, isLast: true });
    expect(await deleteAgedAudit(db, 365 * DAY_MS)).to.deep.equal({ deleted: 1, isLast: true });
    expect(await deleteAgedAudit(db, 365 * DAY_MS)).to.deep.equal({ deleted: 0, isLast: true });
  });

  it('removes what one server has printed, of whatever day, and nothing of others', async () => {
    const [gone, other] = [await buildServer(db), await buildServer(db)];
    for (const { id } of [gone, other]) {
      const piece = {
        server_id: id,
        run_id: 'r',
        from: 0,
        to: 1,
        at_ms: Date.now(),
        entries: joinEntries(['a', 'b']),
      };
      await storeConsole(db, piece);
      await db.models.ServerMetric.create({ server_id: id });
      await db.models.Log.create({ server_id: id, message: 'old', timestamp: new Date(0) });
    }
    let deleted = 0;
    for (const partition of await listServerPartitions(db)) {
      deleted += (await deleteServerRows(db, partition, gone.id)).deleted;
    }
    expect(deleted).to.equal(4);
    expect(await db.models.Log.count({ where: { server_id: gone.id } })).to.equal(0);
    expect(await db.models.Log.count({ where: { server_id: other.id } })).to.equal(3);
    expect(await db.models.ServerMetric.count()).to.equal(1);
    const dropped = { parent: 'logs' as const, name: 'logs_20200101' };
    expect(await deleteServerRows(db, dropped, gone.id)).to.deep.equal({ deleted: 0, isLast: true });
  });
});
