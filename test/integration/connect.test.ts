import { expect } from 'chai';
import pino from 'pino';
import { UniqueConstraintError } from 'sequelize';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { sqlState } from '#src/db/errors.js';
import { inTransaction, row, rows } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('database connection', () => {
  let database: TestDatabase;
  let db: Database;
  before(async () => {
    database = await createTestDatabase();
    ({ db } = database);
  });
  after(() => database.drop());

  it('reads bigint as a number, and refuses one that a number cannot hold', async () => {
    expect(await row(db, 'SELECT $1::bigint AS n', { bind: [2 ** 53 - 1] })).to.deep.equal({
      n: 2 ** 53 - 1,
    });
    const server = await buildServer(db, { op_seq: 7 });
    await server.reload();
    expect(server.op_seq).to.equal(7);
    const error = await rejection(row(db, 'SELECT 9007199254740993::bigint AS n'));
    expect(error).to.have.property('message').that.includes('2^53');
    expect(await row(db, 'SELECT 1 AS alive'), 'the connection is still good').to.deep.equal({ alive: 1 });
  });

  it('takes arrays, objects, dates and null as bind values', async () => {
    const at = new Date('2025-01-31T12:00:00.123Z');
    const answer = await row(
      db,
      'SELECT $1::text[] AS list, $2::jsonb AS object, $3::timestamptz AS at, $4::text AS nothing',
      {
        bind: [['a', 'b'], { a: [1] }, at, null],
      },
    );
    expect(answer).to.deep.equal({ list: ['a', 'b'], object: { a: [1] }, at, nothing: null });
  });

  it('logs neither values nor rows with an error', async () => {
    const lines: string[] = [];
    const log = pino({}, { write: line => lines.push(line) });
    const user = await buildUser(db, { password_hash: 'hunter2-hash' });
    const failures = [
      () =>
        buildUser(db, { username: user.username, email: 'hunter2@example.test', password_hash: 'hunter2' }),
      () =>
        row(db, 'INSERT INTO users (username, email, password_hash) VALUES ($1, $2, $3)', {
          bind: ['hunter2', user.email, 'hunter2'],
        }),
      () => row(db, `UPDATE users SET role = 'hunter2' WHERE id = $1`, { bind: [user.id] }),
      () => user.update({ email: 'hunter2'.repeat(50) }),
      () =>
        inTransaction(db, transaction =>
          row(db, 'UPDATE users SET email = NULL WHERE password_hash = $1', {
            bind: ['hunter2-hash'],
            transaction,
          }),
        ),
    ];
    for (const fail of failures) log.error(await rejection(fail()));
    expect(lines).to.have.length(failures.length);
    expect(lines.join('')).not.to.include('hunter2');
    expect(lines[0]).to.include('SequelizeUniqueConstraintError');
  });

  it('says that the database is unavailable when nobody listens', async () => {
    const nowhere = connectDatabase({
      url: 'postgres://nobody@127.0.0.1:1/none',
      poolMax: 1,
      applicationName: 'test',
    });
    try {
      for (const attempt of [
        () => rows(nowhere, 'SELECT 1'),
        () => nowhere.models.User.count(),
        () => inTransaction(nowhere, transaction => rows(nowhere, 'SELECT 1', { transaction })),
      ]) {
        expect(await rejection(attempt()))
          .to.be.instanceOf(AppError)
          .with.property('code', 'database-unavailable');
      }
    } finally {
      await nowhere.close();
    }
  });

  it('gives up on a statement that takes too long, as on a database that is away', async () => {
    const hasty = connectDatabase({
      url: database.url,
      poolMax: 1,
      applicationName: 'test',
      statementTimeoutMs: 100,
    });
    try {
      const error = await rejection(row(hasty, 'SELECT pg_sleep(30)'));
      expect(error).to.be.instanceOf(AppError).with.property('code', 'database-unavailable');
      expect(await row(hasty, 'SELECT 1 AS alive')).to.deep.equal({ alive: 1 });
    } finally {
      await hasty.close();
    }
  });

  it('survives a server that ends its sessions, in and out of transactions', async () => {
    const lost = await rejection(
      inTransaction(db, async transaction => {
        await endSessions(db, database);
        await row(db, 'SELECT 1', { transaction });
      }),
    );
    expect(lost).to.be.instanceOf(AppError).with.property('code', 'database-unavailable');
    await waitFor(() => row(db, 'SELECT 1 AS alive'), { what: 'a new connection' });
    const parallel = await Promise.all(Array.from({ length: 20 }, () => row(db, 'SELECT pg_sleep(0.01)')));
    expect(parallel, 'no place in the pool is lost').to.have.length(20);
  });

  describe('inTransaction', () => {
    it('runs both sides of a deadlock to their end', async () => {
      const [one, other] = [await buildServer(db), await buildServer(db)];
      let waiting = 0;
      const bump = (first: string, second: string) =>
        inTransaction(db, async transaction => {
          const touch = (id: string) =>
            row(db, 'UPDATE servers SET server_seq = server_seq + 1 WHERE id = $1', {
              bind: [id],
              transaction,
            });
          await touch(first);
          waiting++;
          // Both hold their first lock before either asks for its second; the victim's second run meets nobody.
          await waitFor(() => waiting >= 2, { what: 'both transactions' });
          await touch(second);
        });
      await Promise.all([bump(one.id, other.id), bump(other.id, one.id)]);
      await Promise.all([one.reload(), other.reload()]);
      expect([one.server_seq, other.server_seq]).to.deep.equal([2, 2]);
      expect(waiting, 'somebody ran twice').to.equal(3);
    });

    it('keeps nothing of work that fails, and passes its error on', async () => {
      const server = await buildServer(db);
      const failure = new AppError('queue-full');
      const error = await rejection(
        inTransaction(db, async transaction => {
          await row(db, 'UPDATE servers SET op_seq = 99 WHERE id = $1', { bind: [server.id], transaction });
          throw failure;
        }),
      );
      expect(error).to.equal(failure);
      await server.reload();
      expect(server.op_seq).to.equal(0);
    });

    it('is not tried again for errors that a second run would meet too', async () => {
      const user = await buildUser(db);
      let runs = 0;
      const error = await rejection(
        inTransaction(db, async transaction => {
          runs++;
          await db.models.User.create(
            { username: user.username, email: 'x@example.test', password_hash: 'x' },
            { transaction },
          );
        }),
      );
      expect(error).to.be.instanceOf(UniqueConstraintError);
      expect(sqlState(error)).to.equal('23505');
      expect(runs).to.equal(1);
    });
  });
});

/** Every session of this database but the one that asks: what a restart of the server does to us. */
async function endSessions(db: Database, database: TestDatabase): Promise<void> {
  const name = new URL(database.url).pathname.slice(1);
  await rows(
    db,
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()',
    {
      bind: [name],
    },
  );
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return expect.fail('it did not fail');
}
