import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { buildServer, buildUser, TEST_PASSWORD } from '#test/build.js';
import {
  codeOf,
  objectOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

describe('users, for administrators', function () {
  this.timeout(20_000);
  let api: TestApi;
  let admin: ApiUser;
  before(async () => {
    api = await startTestApi();
    admin = await api.signUp({ role: 'admin' });
  });
  after(() => api.close());

  const put = (id: string, body: object, by: ApiUser = admin) => by.send(`PUT /users/${id}`, { body });

  it('are listed by role, state and part of the name, in pages, without their hashes', async () => {
    await buildUser(api.db, { username: 'findme-1', role: 'viewer' });
    await buildUser(api.db, { username: 'findme-2', role: 'viewer', is_active: false });
    const names = async (query: string) =>
      rowsOf(await admin.send(`GET /users?${query}`)).map(({ username }) => username);
    expect(await names('q=FINDME')).to.deep.equal(['findme-1', 'findme-2']);
    expect(await names('q=findme&is_active=true')).to.deep.equal(['findme-1']);
    expect(await names('q=findme&role=admin')).to.deep.equal([]);
    expect(await names('q=findme&sort=-username&per_page=1')).to.deep.equal(['findme-2']);
    const page = await admin.send('GET /users?q=findme&per_page=1');
    expect(page.headers.get('x-total-count')).to.equal('2');
    expect(JSON.stringify(page.body)).to.not.include('password');
    expect(codeOf(await admin.send('GET /users?role=root'))).to.equal('400 invalid-request');
    expect(codeOf(await admin.send(`GET /users/${randomUUID()}`))).to.equal('404 not-found');
  });

  it('take back the whole object that was read, with one change', async () => {
    const user = await buildUser(api.db);
    const read = await admin.send(`GET /users/${user.id}`);
    const changed = await put(user.id, { ...objectOf(read), username: `${user.username}-2` });
    expect(changed.body).to.include({ username: `${user.username}-2`, role: 'user', is_active: true });
    expect(codeOf(await put(user.id, { email: (await buildUser(api.db)).email }))).to.equal(
      '409 email-taken',
    );
    expect(codeOf(await put(user.id, { password: 'x' }))).to.equal('400 invalid-request');
  });

  it('that are disabled are out at once, and their sessions do not come back with them', async () => {
    const user = await api.signUp();
    const session = await api.send('POST /auth/login', {
      body: { username: user.username, password: TEST_PASSWORD },
    });
    expect((await put(user.id, { is_active: false })).status).to.equal(200);
    expect(codeOf(await user.send('GET /auth/me'))).to.equal('401 unauthenticated');
    await put(user.id, { is_active: true });
    expect(codeOf(await user.send('GET /auth/me'))).to.equal('401 unauthenticated');
    const body = { refresh_token: textAt(session, 'refresh_token') };
    expect(codeOf(await api.send('POST /auth/refresh', { body }))).to.equal('401 unauthenticated');
  });

  it('get and lose a role at once', async () => {
    const user = await api.signUp();
    expect((await user.send('GET /users')).status).to.equal(403);
    await put(user.id, { role: 'admin' });
    expect((await user.send('GET /users')).status).to.equal(200);
    await put(user.id, { role: 'viewer' });
    expect((await user.send('GET /users')).status).to.equal(403);
  });

  it('do not take their own access', async () => {
    const other = await api.signUp({ role: 'admin' });
    for (const body of [{ role: 'user' }, { role: 'viewer' }, { is_active: false }])
      expect(codeOf(await put(other.id, body, other))).to.equal('409 own-account');
    expect(codeOf(await other.send(`DELETE /users/${other.id}`))).to.equal('409 own-account');
    expect((await put(other.id, { role: 'admin', username: `${other.username}-2` }, other)).status).to.equal(
      200,
    );
    await put(other.id, { role: 'user' });
  });

  it('an administrator is always left, also when two take each other’s role at once', async () => {
    const alone = await startTestApi();
    try {
      for (let round = 0; round < 5; round++) {
        const [one, two] = [await alone.signUp({ role: 'admin' }), await alone.signUp({ role: 'admin' })];
        const answers = await Promise.all([
          one.send(`PUT /users/${two.id}`, { body: { role: 'user' } }),
          round % 2 === 0
            ? two.send(`DELETE /users/${one.id}`)
            : two.send(`PUT /users/${one.id}`, { body: { is_active: false } }),
        ]);
        const codes = answers.map(codeOf);
        expect(codes.filter(code => code === '409 last-admin' || code.startsWith('40'))).to.have.length(1);
        const left = await row<{ n: number }>(
          alone.db,
          `SELECT count(*)::int AS n FROM users WHERE role = 'admin' AND is_active`,
        );
        expect(left?.n).to.equal(1);
        await rows(alone.db, `UPDATE users SET role = 'user' RETURNING id`);
      }
    } finally {
      await alone.close();
    }
  });

  it('are deleted with all that is theirs, unless they own a server', async () => {
    const owner = await buildUser(api.db);
    const server = await buildServer(api.db, { user_id: owner.id });
    expect(codeOf(await admin.send(`DELETE /users/${owner.id}`))).to.equal('409 user-in-use');
    await rows(api.db, 'DELETE FROM servers WHERE id = $1 RETURNING id', { bind: [server.id] });
    expect((await admin.send(`DELETE /users/${owner.id}`)).status).to.equal(204);
    expect(codeOf(await admin.send(`DELETE /users/${owner.id}`))).to.equal('404 not-found');
    const user = await api.signUp();
    await admin.send(`DELETE /users/${user.id}`);
    expect(codeOf(await user.send('GET /auth/me'))).to.equal('401 unauthenticated');
  });

  it('leave a record of what was changed, by whom, before and after', async () => {
    const user = await buildUser(api.db);
    await put(user.id, { role: 'viewer' });
    await admin.send(`DELETE /users/${user.id}`);
    const entries = rowsOf(await admin.send(`GET /audit?target_id=${user.id}`));
    expect(entries.map(({ action }) => action)).to.deep.equal(['user.deleted', 'user.updated']);
    expect(entries[1]).to.deep.include({
      actor_id: admin.id,
      actor_name: admin.username,
      data: { role: ['user', 'viewer'] },
    });
    expect(entries[0]?.['data']).to.include({ username: user.username });
  });

  describe('invited', () => {
    let closed: TestApi;
    let host: ApiUser;
    before(async () => {
      closed = await startTestApi({ auth: { registration: 'invite' } });
      host = await closed.signUp({ role: 'admin' });
    });
    after(() => closed.close());

    let people = 0;
    const register = (invitation?: string, more: object = {}) => {
      people += 1;
      const username = `guest-${people}`;
      const account = { username, email: `${username}@example.test`, password: 'long enough' };
      return closed.send('POST /auth/register', {
        body: { ...account, ...(invitation !== undefined && { invitation }), ...more },
      });
    };
    const invite = async () => textAt(await host.send('POST /auth/invitations'), 'token');

    it('register once with an invitation, as plain users, and nobody without one', async () => {
      expect(codeOf(await register())).to.equal('403 invalid-invitation');
      expect(codeOf(await register('made-up'))).to.equal('403 invalid-invitation');
      const token = await invite();
      expect(codeOf(await register(token, { role: 'admin' }))).to.equal('400 invalid-request');
      const made = await register(token);
      expect(made.status).to.equal(201);
      expect(valueAt(made, 'role')).to.equal('user');
      expect(codeOf(await register(token))).to.equal('403 invalid-invitation');
    });

    it('of many who come with one invitation one gets in', async () => {
      const token = await invite();
      const answers = await Promise.all(Array.from({ length: 6 }, () => register(token)));
      expect(answers.filter(({ status }) => status === 201)).to.have.length(1);
    });

    it('keep an invitation that a taken name made useless', async () => {
      const token = await invite();
      expect(codeOf(await register(token, { username: host.username }))).to.equal('409 name-taken');
      expect((await register(token)).status).to.equal(201);
    });

    it('learn of no name whether it is taken without an invitation', async () => {
      expect(codeOf(await register('made-up', { username: host.username }))).to.equal(
        '403 invalid-invitation',
      );
    });

    it('come in time', async () => {
      const token = await invite();
      await rows(closed.db, 'UPDATE invitations SET expires_at = now() RETURNING id');
      expect(codeOf(await register(token))).to.equal('403 invalid-invitation');
      const far = await host.send('POST /auth/invitations', { body: { valid_for_days: 31 } });
      expect(codeOf(far)).to.equal('400 invalid-request');
    });
  });
});
