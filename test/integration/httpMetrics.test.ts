import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { storeSamples } from '#src/db/sampleStorage.js';
import type { ServerMetricRow } from '#src/db/types.js';
import { buildAgent, buildServer } from '#test/build.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

/** A whole minute, and long ago. */
const NOON = Date.UTC(2026, 0, 1, 12);
const iso = (seconds: number) => new Date(NOON + seconds * 1000).toISOString();

describe('metrics over time', function () {
  this.timeout(20_000);
  let api: TestApi;
  let user: ApiUser;
  let serverId: string;
  let agentId: string;

  before(async () => {
    api = await startTestApi();
    user = await api.signUp();
  });
  beforeEach(async () => {
    ({ id: serverId, agent_id: agentId } = await buildServer(api.db, { user_id: user.id }));
  });
  after(() => api.close());

  const write = (timestamp: Date, values: Partial<ServerMetricRow> = {}) =>
    api.db.models.ServerMetric.create({ server_id: serverId, timestamp, ...values });
  const read = (query = '') => user.send(`GET /servers/${serverId}/metrics${query}`);
  const between = (from: number, to: number) => `?from=${iso(from)}&to=${iso(to)}`;

  it('are rows by steps, oldest first', async () => {
    for (const second of [0, 30, 60])
      await write(new Date(NOON + second * 1000), { players_online: second, tps: 20 });
    const answer = await read(`${between(0, 120)}&step=1m`);
    expect(answer.status).to.equal(200);
    const unmeasured = { cpu_percent: null, memory_used: null, uptime_seconds: null, disk_used: null };
    expect(answer.body).to.deep.equal([
      { server_id: serverId, timestamp: iso(0), players_online: 30, tps: 20, ...unmeasured },
      { server_id: serverId, timestamp: iso(60), players_online: 60, tps: 20, ...unmeasured },
    ]);
  });

  it('are those of the last hour, in steps of ten seconds, unless said otherwise', async () => {
    const now = Date.now();
    for (const ageS of [3_700, 3_000, 20]) await write(new Date(now - ageS * 1000), { uptime_seconds: ageS });
    const found = rowsOf(await read());
    expect(found.map(row => row['uptime_seconds'])).to.deep.equal([3_000, 20]);
    for (const { timestamp } of found) expect(Date.parse(String(timestamp)) % 10_000).to.equal(0);
  });

  it('end where they are told to, and then begin an hour before', async () => {
    for (const second of [-3_601, -3_600, -1, 0]) await write(new Date(NOON + second * 1000));
    const found = rowsOf(await read(`?to=${iso(0)}&step=10s`));
    expect(found.map(({ timestamp }) => timestamp)).to.deep.equal([iso(-3_600), iso(-10)]);
  });

  it('are at most five hundred rows where no step is named, however long the range', async () => {
    for (const days of [0.01, 1, 30, 365, 20_000]) {
      const answer = await read(`?from=${new Date(NOON - days * 86_400_000).toISOString()}&to=${iso(0)}`);
      expect(answer.status, String(days)).to.equal(200);
    }
    for (let minute = 0; minute < 600; minute++) await write(new Date(NOON + minute * 60_000));
    expect(await read(between(0, 600 * 60)))
      .to.have.property('body')
      .with.length.within(100, 500);
  });

  it('are refused with a way out when they would be too many', async () => {
    const answer = await read(`${between(0, 86_400)}&step=10s`);
    expect(codeOf(answer)).to.equal('400 invalid-request');
    expect(valueAt(answer, 'detail')).to.match(
      /8640 rows, and 2000 are the most: choose a step of 44s or more/,
    );
    expect((await read(`${between(0, 86_400)}&step=44s`)).status).to.equal(200);
    expect((await read(`${between(0, 20_000)}&step=10s`)).status).to.equal(200);
  });

  for (const query of [
    '?step=10',
    '?step=0s',
    '?step=1w',
    '?step=-5m',
    '?step=1m30s',
    '?step=99999999d',
    '?step=',
    '?from=yesterday',
    '?to=1764000000',
    '?every=5m',
    `?from=${iso(0)}&to=${iso(0)}`,
    `?from=${iso(1)}&to=${iso(0)}`,
    '?from=2999-01-01T00:00:00Z',
    '?step=5m&step=6m',
  ]) {
    it(`are refused for ${query}`, async () => {
      const answer = await read(query);
      expect(codeOf(answer)).to.equal('400 invalid-request');
      expect(valueAt(answer, 'errors')).to.be.an('array').that.is.not.empty;
    });
  }

  it('of a server that does not exist, or is another’s, are not found', async () => {
    const stranger = await api.signUp();
    expect((await stranger.send(`GET /servers/${serverId}/metrics`)).status).to.equal(404);
    expect((await user.send(`GET /servers/${randomUUID()}/metrics`)).status).to.equal(404);
  });

  it('are there of an agent’s host too, for everyone signed in', async () => {
    const host = {
      cpu_percent: 50,
      memory_total: 16e9,
      memory_used: 4e9,
      disk_total: 100e9,
      disk_used: 10e9,
      network_sent: 1,
      network_received: 2,
    };
    const samples = [{ seq: 1, age_ms: 0, host, servers: [] }];
    await storeSamples(api.db, { agent_id: agentId, expected: null, incarnation: 'i', samples });
    const answer = await user.send(`GET /agents/${agentId}/metrics/history?step=1m&to=2999-01-01T00:00:00Z`);
    expect(answer.body).to.deep.equal([]);
    const soon = new Date(Date.now() + 60_000).toISOString();
    const [point, ...more] = rowsOf(await user.send(`GET /agents/${agentId}/metrics/history?to=${soon}`));
    expect(more).to.be.empty;
    const { network_received: network_recv, ...same } = host;
    expect(point).to.deep.include({ ...same, network_recv });
    expect((await user.send(`GET /agents/${agentId}/metrics/history?step=1s`)).status).to.equal(400);
    expect((await user.send(`GET /agents/${randomUUID()}/metrics/history`)).status).to.equal(404);
  });

  it('of the last minutes are in the status, unless they are of an earlier run', async () => {
    const { id: away } = await buildAgent(api.db, { port: 1 });
    const server = await buildServer(api.db, { user_id: user.id, agent_id: away, status: 'running' });
    serverId = server.id;
    await write(new Date(Date.now() - 60_000), { players_online: 7, disk_used: 1e9 });
    const status = () => user.send(`GET /servers/${server.id}/status`);
    expect((await status()).body).to.include({ players_online: 7, disk_used: 1e9 });
    await server.update({ last_stopped: new Date(Date.now() - 30_000) });
    expect((await status()).body).to.include({ players_online: null, disk_used: null });
    await write(new Date(Date.now() - 180_000), { players_online: 9 });
    await server.update({ last_stopped: null });
    expect((await status()).body).to.include({ players_online: 7 });
  });

  it('restart_when_hung is off until someone turns it on', async () => {
    const created = await user.send('POST /servers', {
      body: { name: 'a', server_type: 'vanilla', version: '1.21.4', agent_id: agentId },
    });
    expect(created.body).to.include({ restart_when_hung: false });
    const change = (value: unknown) =>
      user.send(`PUT /servers/${textAt(created, 'id')}`, { body: { restart_when_hung: value } });
    expect((await change(true)).body).to.include({ restart_when_hung: true });
    expect((await change('yes')).status).to.equal(400);
    const found = await user.send(`GET /servers/${textAt(created, 'id')}`);
    expect(found.body).to.include({ restart_when_hung: true });
    const other = await user.send('POST /servers', {
      body: {
        name: 'b',
        server_type: 'vanilla',
        version: '1.21.4',
        agent_id: agentId,
        restart_when_hung: true,
      },
    });
    expect(other.body).to.include({ restart_when_hung: true });
  });
});
