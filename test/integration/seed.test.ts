import { expect } from 'chai';
import type { Database } from '#src/db/connect.js';
import { findDevelopmentPasswords, seed, type SeedOptions } from '#src/db/seed.js';
import { AppError } from '#src/domain/errors.js';
import { verifyPassword } from '#src/security/password.js';
import { buildUser, hashCheaply } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';

const BOSS = { username: 'boss', email: 'boss@example.test', password: 'a long and private one' };

describe('seed', () => {
  let database: TestDatabase;
  let db: Database;
  before(async () => {
    database = await createTestDatabase();
    ({ db } = database);
  });
  after(() => database.drop());
  beforeEach(() => db.models.User.destroy({ where: {} }));

  const run = (options: Partial<SeedOptions>) =>
    seed(db, { env: 'development', firstAdmin: undefined, hashPassword: hashCheaply, ...options });
  const accounts = async () =>
    (await db.models.User.findAll({ order: ['username'] })).map(({ username, email, role }) => ({
      username,
      email,
      role,
    }));

  it('gives a developer an admin and a user to sign in as, once', async () => {
    expect(await run({})).to.deep.equal(['admin', 'demo']);
    expect(await run({})).to.deep.equal([]);
    expect(await accounts()).to.deep.equal([
      { username: 'admin', email: 'admin@aymc.local', role: 'admin' },
      { username: 'demo', email: 'demo@aymc.local', role: 'user' },
    ]);
    for (const [username, password] of [
      ['admin', 'admin123'],
      ['demo', 'demo123'],
    ] as const) {
      const user = await db.models.User.findOne({ where: { username }, rejectOnEmpty: true });
      expect(await verifyPassword(user.password_hash, password)).to.equal(true);
    }
  });

  it('knows which accounts still have the passwords that everybody knows', async () => {
    await run({});
    await buildUser(db, { username: 'careful', password: 'admin123' });
    const known = () => findDevelopmentPasswords(db, verifyPassword);
    expect(await known()).to.deep.equal(['admin', 'demo']);
    await db.models.User.update({ is_active: false }, { where: { username: 'demo' } });
    const password_hash = await hashCheaply('changed');
    await db.models.User.update({ password_hash }, { where: { username: 'admin' } });
    expect(await known()).to.deep.equal([]);
  });

  it('leaves a changed password, role or name as it is', async () => {
    await run({});
    const password_hash = await hashCheaply('changed');
    await db.models.User.update({ password_hash, role: 'viewer' }, { where: { username: 'admin' } });
    await db.models.User.update({ username: 'renamed' }, { where: { username: 'demo' } });
    expect(await run({})).to.deep.equal([]);
    const admin = await db.models.User.findOne({ where: { username: 'admin' }, rejectOnEmpty: true });
    expect(admin).to.include({ password_hash, role: 'viewer' });
  });

  it('makes each account once when several processes seed at the same time', async () => {
    const made = await Promise.all([run({}), run({}), run({})]);
    expect(made.flat().sort()).to.deep.equal(['admin', 'demo']);
  });

  for (const env of ['production', 'test'] as const) {
    it(`never makes an account with a well-known password in ${env}`, async () => {
      expect(await run({ env })).to.deep.equal([]);
      expect(await accounts()).to.deep.equal([]);
    });
  }

  it('makes the configured admin in production, and only while there is no admin', async () => {
    expect(await run({ env: 'production', firstAdmin: BOSS })).to.deep.equal(['boss']);
    expect(
      await run({ env: 'production', firstAdmin: { ...BOSS, username: 'second', email: 's@x.test' } }),
    ).to.deep.equal([]);
    expect(await accounts()).to.deep.equal([{ username: 'boss', email: BOSS.email, role: 'admin' }]);
    const user = await db.models.User.findOne({ where: { username: 'boss' }, rejectOnEmpty: true });
    expect(await verifyPassword(user.password_hash, BOSS.password)).to.equal(true);
  });

  it('says so when the configured admin’s name belongs to somebody who is none', async () => {
    await buildUser(db, { username: BOSS.username });
    const outcome = await run({ env: 'production', firstAdmin: BOSS }).catch((error: unknown) => error);
    expect(outcome).to.be.instanceOf(AppError).with.property('code', 'name-taken');
    expect(await accounts()).to.have.length(1);
  });
});
