import { expect } from 'chai';
import { rows } from '#src/db/sql.js';
import { hashToken } from '#src/security/tokens.js';
import { buildUser, TEST_PASSWORD } from '#test/build.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

describe('the audit', function () {
  this.timeout(20_000);
  let api: TestApi;
  let admin: ApiUser;
  before(async () => {
    api = await startTestApi({ limits: { loginPerAccountPerMinute: 4 } });
    admin = await api.signUp({ role: 'admin' });
  });
  after(() => api.close());

  const login = (username: string, password: string) =>
    api.send('POST /auth/login', { body: { username, password } });
  const entries = async (query: string) => rowsOf(await admin.send(`GET /audit?${query}`));
  const actions = async (query: string) => (await entries(query)).map(({ action }) => action);

  it('tells of a login, its address and its request, and of the logout that ended it', async () => {
    const user = await buildUser(api.db);
    const answer = await api.send('POST /auth/login', {
      body: { username: user.username, password: TEST_PASSWORD },
      headers: { 'X-Request-Id': 'my-request' },
    });
    await api.send('POST /auth/logout', { token: textAt(answer, 'token') });
    const found = await entries(`actor_id=${user.id}`);
    expect(found.map(({ action }) => action)).to.deep.equal(['logout', 'login.succeeded']);
    expect(found[1]).to.include({
      actor_name: user.username,
      ip_address: '127.0.0.1',
      request_id: 'my-request',
      target_type: 'session',
    });
  });

  it('tells of failed and limited logins, and never what was typed', async () => {
    const user = await buildUser(api.db);
    for (let i = 0; i < 7; i++) await login(user.username, 'the-wrong-password');
    await login('my-password-in-the-wrong-field', 'x');
    const found = await entries(`target_id=${user.id}`);
    expect(found.filter(({ action }) => action === 'login.failed')).to.have.length(4);
    // However often somebody tries.
    expect(found.filter(({ action }) => action === 'login.limited')).to.have.length(1);
    const unknown = await entries('action=login.failed&per_page=1');
    expect(unknown[0]).to.deep.include({ target_id: null, data: { reason: 'unknown-account' } });
    const everything = JSON.stringify(await rows(api.db, 'SELECT * FROM audit_log'));
    expect(everything).to.not.include('wrong-password');
    expect(everything).to.not.include('wrong-field');
  });

  it('tells of changes to an account, of its sessions and keys, and of a token that came back', async () => {
    const user = await api.signUp();
    await user.send('PUT /auth/me', { body: { username: `${user.username}-2` } });
    const key = await user.send('POST /auth/api-keys', { body: { name: 'k', scopes: ['read'] } });
    await user.send(`DELETE /auth/api-keys/${textAt(key, 'id')}`);
    const other = await login(`${user.username}-2`, TEST_PASSWORD);
    const sessions = rowsOf(await user.send('GET /auth/sessions'));
    const theOther = sessions.find(({ current }) => current === false);
    await user.send(`DELETE /auth/sessions/${String(theOther?.['id'])}`);
    await user.send('POST /auth/change-password', {
      body: { current_password: TEST_PASSWORD, new_password: 'a new one, longer' },
    });
    expect(await actions(`actor_id=${user.id}`)).to.deep.equal([
      'password.changed',
      'session.revoked',
      'login.succeeded',
      'api-key.revoked',
      'api-key.created',
      'account.updated',
      'login.succeeded',
    ]);
    const robbed = await buildUser(api.db);
    const stolen = textAt(await login(robbed.username, TEST_PASSWORD), 'refresh_token');
    const refresh = () => api.send('POST /auth/refresh', { body: { refresh_token: stolen } });
    await refresh();
    await rows(
      api.db,
      `UPDATE sessions SET replaced_at = now() - interval '1 hour' WHERE token_hash = $1 RETURNING id`,
      { bind: [hashToken(stolen)] },
    );
    await refresh();
    expect(await actions(`target_id=${robbed.id}`)).to.deep.equal(['token.reused']);
    const everything = JSON.stringify(await rows(api.db, 'SELECT * FROM audit_log'));
    for (const secret of [stolen, textAt(key, 'key'), textAt(other, 'refresh_token'), 'a new one, longer'])
      expect(everything).to.not.include(secret);
  });

  it('tells once a minute who tries what only administrators may, and on what', async () => {
    const user = await api.signUp();
    for (let i = 0; i < 3; i++) expect((await user.send('GET /users')).status).to.equal(403);
    await user.send('POST /agents');
    const found = await entries(`actor_id=${user.id}&action=access.denied`);
    expect(found.map(({ data }) => data)).to.deep.equal([
      { method: 'POST', route: '/api/v1/agents' },
      { method: 'GET', route: '/api/v1/users' },
    ]);
  });

  it('tells of new agents and invitations', async () => {
    const agent = await admin.send('POST /agents', {
      body: { agent_id: 'audited', hostname: 'h', ip_address: '127.0.0.1' },
    });
    expect(await actions(`target_id=${textAt(agent, 'id')}`)).to.deep.equal(['agent.created']);
    const invitation = await admin.send('POST /auth/invitations');
    const found = await entries(`target_id=${textAt(invitation, 'id')}`);
    expect(found.map(({ action }) => action)).to.deep.equal(['invitation.created']);
    expect(JSON.stringify(found)).to.not.include(textAt(invitation, 'token'));
  });

  it('is filtered by time and read in pages, newest first', async () => {
    const user = await buildUser(api.db);
    await login(user.username, TEST_PASSWORD);
    const [one] = await entries(`actor_id=${user.id}`);
    const at = String(one?.['at']);
    const later = new Date(Date.parse(at) + 1).toISOString();
    expect(await actions(`actor_id=${user.id}&from=${at}&to=${later}`)).to.have.length(1);
    expect(await actions(`actor_id=${user.id}&from=${later}`)).to.deep.equal([]);
    expect(await actions(`actor_id=${user.id}&to=${at}`)).to.deep.equal([]);
    const first = await admin.send('GET /audit?per_page=2');
    const second = await admin.send('GET /audit?per_page=2&page=2');
    expect(Number(first.headers.get('x-total-count'))).to.be.above(10);
    const ids = [...rowsOf(first), ...rowsOf(second)].map(({ id }) => id);
    expect(new Set(ids).size).to.equal(4);
    expect(codeOf(await admin.send('GET /audit?action=nonsense'))).to.equal('400 invalid-request');
  });

  it('does not tell of a change that did not happen', async () => {
    const [user, other] = [await api.signUp(), await buildUser(api.db)];
    expect((await user.send('PUT /auth/me', { body: { email: other.email } })).status).to.equal(409);
    expect(await actions(`actor_id=${user.id}&action=account.updated`)).to.deep.equal([]);
  });
});

describe('my sessions', function () {
  this.timeout(20_000);
  let api: TestApi;
  before(async () => {
    api = await startTestApi();
  });
  after(() => api.close());

  it('are listed with where they come from, and ended one by one, nobody else’s among them', async () => {
    const user = await api.signUp();
    const elsewhere = await api.send('POST /auth/login', {
      body: { username: user.username, password: TEST_PASSWORD },
      headers: { 'User-Agent': 'a phone' },
    });
    const refreshed = await api.send('POST /auth/refresh', {
      body: { refresh_token: textAt(elsewhere, 'refresh_token') },
      headers: { 'User-Agent': 'a phone, newer' },
    });
    const sessions = rowsOf(await user.send('GET /auth/sessions'));
    expect(sessions.map(({ current, user_agent }) => [current, user_agent])).to.deep.include.members([
      [false, 'a phone, newer'],
    ]);
    expect(sessions.filter(({ current }) => current === true)).to.have.length(1);
    const phone = String(sessions.find(({ current }) => current === false)?.['id']);
    const stranger = await api.signUp();
    expect(codeOf(await stranger.send(`DELETE /auth/sessions/${phone}`))).to.equal('404 not-found');
    expect((await user.send(`DELETE /auth/sessions/${phone}`)).status).to.equal(204);
    expect(codeOf(await user.send(`DELETE /auth/sessions/${phone}`))).to.equal('404 not-found');
    const token = textAt(refreshed, 'token');
    expect(codeOf(await api.send('GET /auth/me', { token }))).to.equal('401 unauthenticated');
    expect(valueAt(await user.send('GET /auth/sessions'), '1')).to.equal(undefined);
  });
});
