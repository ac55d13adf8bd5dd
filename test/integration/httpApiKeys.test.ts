import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { SCOPES, type Scope } from '#src/domain/scopes.js';
import { ROUTES } from '#src/http/routes.js';
import { hashToken } from '#src/security/tokens.js';
import { buildAgent, buildServer } from '#test/build.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiAnswer,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('API keys', function () {
  this.timeout(30_000);
  let api: TestApi;
  let agentId: string;
  before(async () => {
    api = await startTestApi();
    agentId = (await buildAgent(api.db, { port: 1 })).id;
  });
  after(() => api.close());

  const make = (user: ApiUser, scopes: Scope[], more: object = {}) =>
    user.send('POST /auth/api-keys', { body: { name: 'a key', scopes, ...more } });
  /** Sends with the key in place of the user's token. */
  const using = (made: ApiAnswer) => {
    const token = textAt(made, 'key');
    return (route: string, body?: object) => api.send(route, { token, ...(body && { body }) });
  };

  it('are shown once, listed by how they begin, stored as a hash, and end when revoked', async () => {
    const user = await api.signUp();
    const made = await make(user, ['read']);
    expect(made.status).to.equal(201);
    const key = textAt(made, 'key');
    expect(key.startsWith(textAt(made, 'prefix'))).to.equal(true);
    const listed = await user.send('GET /auth/api-keys');
    expect(rowsOf(listed)).to.have.length(1);
    expect(JSON.stringify(listed.body)).to.not.include(key);
    const stored = await row<{ key_hash: string }>(api.db, 'SELECT key_hash FROM api_keys WHERE id = $1', {
      bind: [textAt(made, 'id')],
    });
    expect(stored?.key_hash).to.equal(hashToken(key));

    const send = using(made);
    expect(valueAt(await send('GET /auth/me'), 'id')).to.equal(user.id);
    expect((await user.send(`DELETE /auth/api-keys/${textAt(made, 'id')}`)).status).to.equal(204);
    expect(codeOf(await send('GET /auth/me'))).to.equal('401 unauthenticated');
  });

  it("are nobody else's to see or to end", async () => {
    const made = await make(await api.signUp(), ['read']);
    const other = await api.signUp({ role: 'admin' });
    expect((await other.send('GET /auth/api-keys')).body).to.deep.equal([]);
    expect(codeOf(await other.send(`DELETE /auth/api-keys/${textAt(made, 'id')}`))).to.equal('404 not-found');
    expect((await using(made)('GET /auth/me')).status).to.equal(200);
  });

  it('open what their scopes say, and of every other route nothing', async () => {
    const admin = await api.signUp({ role: 'admin' });
    const server = await buildServer(api.db, { user_id: admin.id, agent_id: agentId });
    const keys = new Map<Scope, ReturnType<typeof using>>();
    for (const scope of SCOPES) keys.set(scope, using(await make(admin, [scope])));
    for (const { method, path, scope } of ROUTES) {
      if (scope === null || scope === 'by-operation') continue;
      const filled = path.replace('/api/v1', '').replace(':id', server.id).replace(/:\w+/g, admin.id);
      for (const [granted, send] of keys) {
        if (granted === scope && method === 'DELETE') continue;
        const code = codeOf(await send(`${method} ${filled}`));
        const what = `${granted}: ${method} ${path} (${scope})`;
        if (granted === scope) expect(code, what).to.not.match(/^(401|403)/);
        else expect(code, what).to.equal('403 insufficient-scope');
      }
    }
  });

  it('that may only look change nothing: every route of the scope `read` is a GET', () => {
    const changing = ROUTES.filter(({ scope, method }) => scope === 'read' && method !== 'GET');
    expect(changing.map(({ method, path }) => `${method} ${path}`)).to.deep.equal([]);
  });

  it('cancel what they might ask for, and nothing else', async () => {
    const user = await api.signUp();
    const server = await buildServer(api.db, { user_id: user.id, agent_id: agentId });
    const power = using(await make(user, ['power']));
    const reading = using(await make(user, ['read', 'console']));
    const started = await power(`POST /servers/${server.id}/start`);
    expect(started.status).to.equal(202);
    const cancel = `POST /operations/${textAt(started, 'id')}/cancel`;
    expect(codeOf(await reading(cancel))).to.equal('403 insufficient-scope');
    expect((await power(cancel)).status).to.equal(202);
  });

  it('never exceed their owner: neither another’s servers, nor a role that was taken', async () => {
    const admin = await api.signUp({ role: 'admin' });
    const send = using(await make(admin, [...SCOPES]));
    expect((await send('GET /users')).status).to.equal(200);
    await rows(api.db, `UPDATE users SET role = 'user' WHERE id = $1 RETURNING id`, { bind: [admin.id] });
    // Another process would do so within five seconds.
    await waitFor(async () => codeOf(await send('GET /users')) === '403 forbidden', {
      timeoutMs: 6_000,
      what: 'the end of the role',
    });
    const foreign = await buildServer(api.db, { agent_id: agentId });
    expect(codeOf(await send(`GET /servers/${foreign.id}`))).to.equal('404 not-found');
    expect(codeOf(await send(`POST /servers/${foreign.id}/start`))).to.equal('404 not-found');
  });

  it('die with their owner’s account at once, and live again with it', async () => {
    const admin = await api.signUp({ role: 'admin' });
    const user = await api.signUp();
    const send = using(await make(user, ['read']));
    expect((await send('GET /servers')).status).to.equal(200);
    const activate = (is_active: boolean) => admin.send(`PUT /users/${user.id}`, { body: { is_active } });
    await activate(false);
    expect(codeOf(await send('GET /servers'))).to.equal('401 unauthenticated');
    await activate(true);
    expect((await send('GET /servers')).status).to.equal(200);
  });

  it('end by themselves; using one after that is refused, and recorded once', async () => {
    const user = await api.signUp();
    const past = await make(user, ['read'], { expires_at: new Date(Date.now() - 1_000).toISOString() });
    expect(codeOf(past)).to.equal('400 invalid-request');
    const made = await make(user, ['read'], { expires_at: new Date(Date.now() + 3_600_000).toISOString() });
    const send = using(made);
    await rows(api.db, `UPDATE api_keys SET expires_at = now() WHERE id = $1 RETURNING id`, {
      bind: [textAt(made, 'id')],
    });
    for (let i = 0; i < 3; i++) expect(codeOf(await send('GET /auth/me'))).to.equal('401 token-expired');
    const entries = await rows(api.db, `SELECT 1 FROM audit_log WHERE action = 'api-key.expired-use'`);
    expect(entries).to.have.length(1);
  });

  it('say when they were used last, written at most once a minute', async () => {
    const user = await api.signUp();
    const made = await make(user, ['read']);
    const send = using(made);
    const lastUsed = async () =>
      (
        await row<{ last_used_at: Date | null }>(api.db, 'SELECT last_used_at FROM api_keys WHERE id = $1', {
          bind: [textAt(made, 'id')],
        })
      )?.last_used_at ?? null;
    const setBack = (seconds: number) =>
      rows(
        api.db,
        `UPDATE api_keys SET last_used_at = last_used_at - $2 * interval '1 second' WHERE id = $1 RETURNING id`,
        { bind: [textAt(made, 'id'), seconds] },
      );
    expect(await lastUsed()).to.equal(null);
    await send('GET /auth/me');
    await setBack(30);
    const before = await lastUsed();
    // Makes this process ask the database again.
    await user.send('PUT /auth/me', { body: {} });
    await send('GET /auth/me');
    expect(await lastUsed()).to.deep.equal(before);
    await setBack(40);
    await user.send('PUT /auth/me', { body: {} });
    await send('GET /auth/me');
    expect((await lastUsed())?.getTime()).to.be.above(before?.getTime() ?? Infinity);
  });

  it('are bounded in number, also when many are made at once', async () => {
    const user = await api.signUp();
    const answers = await Promise.all(Array.from({ length: 60 }, () => make(user, ['read'])));
    expect(answers.filter(({ status }) => status === 201)).to.have.length(50);
    expect(codeOf(await make(user, ['read']))).to.equal('409 too-many-keys');
  });

  it('need at least one scope that exists', async () => {
    const user = await api.signUp();
    for (const scopes of [[], ['everything'], ['read', 'read']]) {
      const answer = await user.send('POST /auth/api-keys', { body: { name: 'x', scopes } });
      expect(codeOf(answer)).to.equal('400 invalid-request');
    }
  });

  it('that are made up are refused like a bad token', async () => {
    const answer = await api.send('GET /auth/me', { token: `aymc_${'A'.repeat(43)}` });
    expect(codeOf(answer)).to.equal('401 unauthenticated');
    expect(answer.headers.get('www-authenticate')).to.match(/^Bearer/);
  });

  it('have no session to sign out of', async () => {
    const send = using(await make(await api.signUp(), ['read']));
    expect((await send('POST /auth/logout')).status).to.equal(200);
    expect((await send('GET /auth/me')).status).to.equal(200);
  });
});
