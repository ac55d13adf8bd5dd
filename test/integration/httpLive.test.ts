import { expect } from 'chai';
import { rows } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import { buildAgent, buildServer } from '#test/build.js';
import { hang, startFakeAgent, type FakeAgent } from '#test/fakeAgent.js';
import { codeOf, startTestApi, textAt, valueAt, type ApiUser, type TestApi } from '#test/harness/api.js';

describe('what is asked of a server’s agent', function () {
  this.timeout(20_000);
  let api: TestApi;
  let user: ApiUser;
  let fake: FakeAgent;
  before(async () => {
    api = await startTestApi();
    user = await api.signUp();
    fake = await startFakeAgent();
    const { id, host, port, tls_mode } = fake.address;
    await buildAgent(api.db, { id, ip_address: host, port, tls_mode });
  });
  after(async () => {
    await fake.stop();
    await api.close();
  });

  const build = (overrides: Partial<ServerRow> = {}) =>
    buildServer(api.db, { user_id: user.id, agent_id: fake.address.id, ...overrides });

  /** A server that really runs there, started past the control plane. */
  async function running(overrides: Partial<ServerRow> = {}): Promise<string> {
    const { id } = await build({ status: 'running', desired_state: 'running', ...overrides });
    await api.gateway.submitWork(fake.address, {
      key: { opId: id, step: 'start' },
      serverId: id,
      epoch: 1,
      opSeq: 1,
      undo: false,
      work: {
        $case: 'start',
        start: {
          settings: { port: 25_565, maxPlayers: 20, eulaAccepted: true },
          memoryMinMb: 1,
          memoryMaxMb: 1,
          javaArgs: [],
          jarFile: 'server.jar',
          javaMajor: 21,
          javaPinned: false,
          readyTimeoutSeconds: 10,
          serverType: 'vanilla',
          leased: false,
        },
      },
    });
    for await (const status of api.gateway.watchWork(
      fake.address,
      { opId: id, step: 'start' },
      { deadlineMs: 5_000 },
    )) {
      void status;
    }
    return id;
  }

  describe('status', () => {
    it('is what the agent sees now, with the latest measurements', async () => {
      const id = await running({ max_players: 33 });
      await rows(
        api.db,
        `INSERT INTO server_metrics (server_id, cpu_percent, memory_used, players_online, tps, uptime_seconds)
         VALUES ($1, 12.5, 1048576, 3, 19.9, 60) RETURNING id`,
        { bind: [id] },
      );
      const answer = await user.send(`GET /servers/${id}/status`);
      expect(answer.status).to.equal(200);
      expect(answer.body).to.include({
        status: 'running',
        desired_state: 'running',
        players_online: 3,
        max_players: 33,
        tps: 19.9,
        cpu_percent: 12.5,
        memory_used: 1_048_576,
      });
      expect(valueAt(answer, 'pid')).to.be.a('number');
      expect(valueAt(answer, 'uptime_seconds')).to.be.within(0, 30);
      expect(Date.now() - Date.parse(textAt(answer, 'observed_at'))).to.be.below(5_000);
    });

    it('does not hide that a server which should run has crashed', async () => {
      const id = await running();
      fake.crash(id, 1);
      const answer = await user.send(`GET /servers/${id}/status`);
      expect(answer.body).to.include({
        status: 'error',
        desired_state: 'running',
        pid: null,
        uptime_seconds: null,
      });
    });

    it('of a server whose agent is away is the last known, and says how old', async () => {
      const { id: agent_id } = await buildAgent(api.db, { port: 1 });
      const server = await build({ agent_id, status: 'running' });
      const answer = await user.send(`GET /servers/${server.id}/status`);
      expect(answer.status).to.equal(200);
      expect(answer.body).to.include({
        status: 'running',
        pid: null,
        observed_at: server.updated_at.toISOString(),
      });
    });

    it('waits for a silent agent no longer than people do', async () => {
      const { id } = await build({ status: 'stopped' });
      fake.script(hang('inspectServers'));
      try {
        const began = performance.now();
        expect((await user.send(`GET /servers/${id}/status`)).body).to.include({ status: 'stopped' });
        expect(performance.now() - began).to.be.below(4_500);
      } finally {
        fake.clearScript();
      }
    });
  });

  describe('command', () => {
    const command = (id: string, body: unknown) => user.send(`POST /servers/${id}/command`, { body });

    it('reaches the console as one line', async () => {
      const id = await running();
      const answer = await command(id, { command: '  say hello  ' });
      expect(answer.status).to.equal(200);
      expect(answer.body).to.include({ accepted: true });
      expect(fake.calls.filter(({ method }) => method === 'sendCommand')).to.have.length(1);
    });

    it('of several lines, of nothing, or too long never leaves us', async () => {
      const id = await running();
      const before = fake.calls.length;
      const bad = [
        'say a\nstop',
        'say a\rstop',
        'say \u0000',
        '',
        '   ',
        'x'.repeat(4096),
        'é'.repeat(2048),
        5,
        null,
      ];
      for (const text of bad)
        expect((await command(id, { command: text })).status, JSON.stringify(text)).to.equal(400);
      expect(fake.calls).to.have.length(before);
      expect((await command(id, { command: 'x'.repeat(4095) })).status).to.equal(200);
    });

    it('to a server that does not run is refused, by its row or by its agent', async () => {
      const stopped = await build({ status: 'stopped' });
      expect(codeOf(await command(stopped.id, { command: 'list' }))).to.equal('409 server-not-running');
      const unaware = await build({ status: 'running' });
      expect(codeOf(await command(unaware.id, { command: 'list' }))).to.equal('409 server-not-running');
    });

    it('to a server whose agent is away is a typed problem', async () => {
      const { id: agent_id } = await buildAgent(api.db, { port: 1 });
      const server = await build({ agent_id, status: 'running' });
      expect(codeOf(await command(server.id, { command: 'list' }))).to.equal('503 agent-unreachable');
    });
  });
});
