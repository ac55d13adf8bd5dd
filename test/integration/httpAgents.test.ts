import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow } from '#src/db/types.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { buildAgent, buildServer } from '#test/build.js';
import { hang, startFakeAgent, type FakeAgent } from '#test/fakeAgent.js';
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

const FINGERPRINT = 'AB:'.repeat(31) + 'AB';

describe('agents', function () {
  this.timeout(20_000);
  const jwtSecret = createSecretKey(randomBytes(32));
  let api: TestApi;
  let admin: ApiUser;
  let user: ApiUser;
  before(async () => {
    api = await startTestApi({ auth: { jwtSecret } });
    admin = await api.signUp({ role: 'admin' });
    user = await api.signUp();
  });
  after(() => api.close());

  const input = (extra: object = {}) => ({
    agent_id: `fra-${randomUUID()}`,
    hostname: 'fra.example',
    ip_address: '10.0.0.1',
    ...extra,
  });
  const create = (extra: object = {}) => admin.send('POST /agents', { body: input(extra) });

  it('are registered with a token that is shown once and kept sealed', async () => {
    const made = await create({ zone: 'fra', labels: { disk: 'nvme' } });
    expect(made.status).to.equal(201);
    expect(made.body).to.include({
      status: 'offline',
      port: 50_051,
      health_check_interval: 30,
      tls_mode: 'plaintext',
      host: 'fra.example',
    });
    expect(valueAt(made, 'name')).to.equal(valueAt(made, 'agent_id'));
    expect(valueAt(made, 'labels.disk')).to.equal('nvme');
    const token = textAt(made, 'agent_token');
    expect(Buffer.from(token, 'base64url')).to.have.length(32);
    const stored = await row<AgentRow>(api.db, 'SELECT * FROM agents WHERE id = $1', {
      bind: [textAt(made, 'id')],
    });
    expect(stored?.token).to.match(/^v1\./).and.not.include(token);
    for (const path of ['', `/${textAt(made, 'id')}`]) {
      const shown = JSON.stringify((await admin.send(`GET /agents${path}`)).body);
      expect(shown)
        .to.not.include('agent_token')
        .and.not.include(token)
        .and.not.include(stored?.token ?? '-');
    }
  });

  it('are refused twice under one name, and with values that mean nothing', async () => {
    const body = input();
    expect((await admin.send('POST /agents', { body })).status).to.equal(201);
    expect(codeOf(await admin.send('POST /agents', { body }))).to.equal('409 agent-exists');
    const bad: object[] = [
      { ip_address: 'fra.example' },
      { ip_address: '10.0.0.1/24' },
      { ip_address: '10.0.0.256' },
      { agent_id: 'a/../b' },
      { port: 0 },
      { tls_mode: 'pinned' },
      { tls_fingerprint: 'abc' },
      { tls_mode: 'none' },
      { labels: { a: 1 } },
      { token: 'mine' },
    ];
    for (const extra of bad) expect((await create(extra)).status, JSON.stringify(extra)).to.equal(400);
    expect((await create({ tls_fingerprint: FINGERPRINT })).body).to.include({ tls_mode: 'pinned' });
    expect((await create({ ip_address: '2001:db8::1' })).body).to.include({ ip_address: '2001:db8::1' });
  });

  it('take back the whole object with one thing changed', async () => {
    const made = await create({ zone: 'fra' });
    const path = `/agents/${textAt(made, 'id')}`;
    const before = objectOf(await admin.send(`GET ${path}`));
    const put = (change: object) => admin.send(`PUT ${path}`, { body: { ...before, ...change } });
    const moved = await put({ ip_address: '10.0.0.2', status: 'online', agent_id: 'another' });
    expect(moved.status).to.equal(200);
    expect(moved.body).to.deep.include({
      ...before,
      ip_address: '10.0.0.2',
      updated_at: textAt(moved, 'updated_at'),
    });
    expect((await put({ host: 'new.example' })).body).to.include({
      hostname: 'new.example',
      host: 'new.example',
    });
    expect((await put({ zone: null })).body).to.include({ zone: null });
    expect(codeOf(await put({ tls_mode: 'pinned' }))).to.equal('400 invalid-request');
    expect(codeOf(await admin.send(`PUT /agents/${randomUUID()}`, { body: {} }))).to.equal('404 not-found');
  });

  it('are deleted only when they hold no servers', async () => {
    const agent = await buildAgent(api.db);
    const server = await buildServer(api.db, { agent_id: agent.id });
    expect(codeOf(await admin.send(`DELETE /agents/${agent.id}`))).to.equal('409 agent-in-use');
    await rows(api.db, 'DELETE FROM servers WHERE id = $1 RETURNING id', { bind: [server.id] });
    const gone = await admin.send(`DELETE /agents/${agent.id}`);
    expect([gone.status, gone.body]).to.deep.equal([204, '']);
    expect(codeOf(await admin.send(`DELETE /agents/${agent.id}`))).to.equal('404 not-found');
  });

  it('a delete and a create that race leave no server without an agent', async () => {
    for (let i = 0; i < 10; i++) {
      const { id: agent_id } = await buildAgent(api.db);
      const [created, deleted] = await Promise.all([
        admin.send('POST /servers', { body: { name: 'x', server_type: 'paper', version: '1.21', agent_id } }),
        admin.send(`DELETE /agents/${agent_id}`),
      ]);
      expect([created.status, deleted.status]).to.satisfy(
        ([c, d]: number[]) => (c === 201 && d === 409) || (c === 400 && d === 204),
      );
    }
  });

  it('under maintenance take no new servers, until that is over', async () => {
    const id = textAt(await create(), 'id');
    await rows(api.db, `UPDATE agents SET status = 'online' WHERE id = $1 RETURNING id`, { bind: [id] });
    await rows(api.db, 'UPDATE agents SET cordoned = true WHERE id <> $1 RETURNING id', { bind: [id] });
    const path = `POST /agents/${id}/maintenance`;
    const placed = async () =>
      codeOf(await admin.send('POST /servers', { body: { name: 'x', type: 'paper', version: '1.21.4' } }));
    const until = '2099-01-01T00:00:00.000Z';
    const announced = await admin.send(path, { body: { until } });
    expect(announced.body).to.include({ id, maintenance_until: until, status: 'online' });
    expect(await placed()).to.equal('409 no-agent');
    expect((await admin.send(path, { body: { until: null } })).body).to.include({ maintenance_until: null });
    expect(await placed()).to.equal('201');
    expect(codeOf(await admin.send(path, { body: {} }))).to.equal('400 invalid-request');
    expect(codeOf(await admin.send(path, { body: { until: 'soon' } }))).to.equal('400 invalid-request');
    expect(codeOf(await user.send(path, { body: { until } }))).to.equal('403 forbidden');
    const nobody = `POST /agents/${randomUUID()}/maintenance`;
    expect(codeOf(await admin.send(nobody, { body: { until } }))).to.equal('404 not-found');
    const audit = await admin.send(`GET /audit?target_id=${id}&action=agent.maintenance`);
    expect(rowsOf(audit).map(({ data }) => data)).to.deep.equal([{ until: null }, { until }]);
    await rows(api.db, 'UPDATE agents SET cordoned = false RETURNING id');
  });

  it('are read by anyone signed in and written by admins', async () => {
    const { id } = await buildAgent(api.db);
    for (const route of [
      'GET /agents',
      `GET /agents/${id}`,
      'GET /agents/stats',
      `GET /agents/${id}/health`,
    ]) {
      expect((await user.send(route)).status, route).to.equal(200);
      expect((await api.send(route)).status, route).to.equal(401);
    }
    for (const route of ['POST /agents', `PUT /agents/${id}`, `DELETE /agents/${id}`]) {
      expect(codeOf(await user.send(route)), route).to.equal('403 forbidden');
    }
  });

  it('are listed by status and text, and counted', async () => {
    const zone = `zone-${randomUUID()}`;
    await buildAgent(api.db, { zone, status: 'error' });
    await buildAgent(api.db, { zone, status: 'online' });
    const found = await user.send(`GET /agents?q=${zone}&status=error`);
    expect(found.body).to.have.length(1);
    expect(found.headers.get('x-total-count')).to.equal('1');
    const counts = objectOf(await user.send('GET /agents/stats'));
    const [online, offline, error] = [counts['online'], counts['offline'], counts['error']].map(Number);
    expect(counts['total']).to.equal((online ?? 0) + (offline ?? 0) + (error ?? 0));
    expect(error).to.be.at.least(1);
  });

  describe('asked live', () => {
    let fake: FakeAgent;
    before(async () => {
      fake = await startFakeAgent({ tls: true, token: 'what the agent wants to hear' });
      const { id, host, port, tls_mode, tls_fingerprint, token } = fake.address;
      await buildAgent(api.db, {
        id,
        ip_address: host,
        port,
        tls_mode,
        tls_fingerprint,
        token: token === null ? null : sealSecret(deriveSecretKey(jwtSecret), token),
      });
    });
    after(() => fake.stop());

    it('tell their health and their metrics, by pinned certificate and token', async () => {
      const health = await user.send(`GET /agents/${fake.address.id}/health`, {
        headers: { 'X-Request-Id': 'trace-4' },
      });
      expect(health.status).to.equal(200);
      expect(health.body).to.include({ healthy: true });
      expect(valueAt(health, 'latency_ms')).to.be.a('number');
      const metrics = await user.send(`GET /agents/${fake.address.id}/metrics`);
      expect(metrics.status).to.equal(200);
      expect(valueAt(metrics, 'cpu_usage')).to.equal(valueAt(metrics, 'cpu_percent'));
      expect(metrics.body).to.include.keys(
        'memory_total',
        'disk_used',
        'network_recv',
        'uptime',
        'memory_usage',
      );
    });

    it('that do not answer are unhealthy within five seconds, and their metrics a typed problem', async () => {
      fake.script(hang());
      try {
        const began = performance.now();
        const [health, metrics] = await Promise.all([
          user.send(`GET /agents/${fake.address.id}/health`),
          user.send(`GET /agents/${fake.address.id}/metrics`),
        ]);
        expect(performance.now() - began).to.be.below(6_500);
        expect(health.status).to.equal(200);
        expect(health.body).to.include({ healthy: false, status: 'unreachable', latency_ms: null });
        expect(textAt(health, 'checks.connection')).to.match(/^agent-timeout/);
        expect(codeOf(metrics)).to.equal('504 agent-timeout');
      } finally {
        fake.clearScript();
      }
    });

    it('nobody listens there: unhealthy at once', async () => {
      const { id } = await buildAgent(api.db, { port: 1 });
      const health = await user.send(`GET /agents/${id}/health`);
      expect(health.body).to.include({ healthy: false });
      expect(codeOf(await user.send(`GET /agents/${id}/metrics`))).to.equal('503 agent-unreachable');
    });
  });
});
