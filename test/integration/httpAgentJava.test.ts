import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { rows } from '#src/db/sql.js';
import { buildAgent } from '#test/build.js';
import { codeOf, startTestApi, textAt, type ApiUser, type TestApi } from '#test/harness/api.js';

describe('Java of an agent', function () {
  this.timeout(20_000);
  let api: TestApi;
  let admin: ApiUser;
  let agentId: string;

  before(async () => {
    api = await startTestApi();
    admin = await api.signUp({ role: 'admin' });
    agentId = (await buildAgent(api.db, { port: 1 })).id;
  });
  after(() => api.close());

  const install = (body: object, key = randomUUID(), id = agentId) =>
    admin.send(`POST /agents/${id}/java`, { body, headers: { 'Idempotency-Key': key } });

  it('is asked for as an operation of the agent, once for a key, and recorded', async () => {
    const key = randomUUID();
    const asked = await install({ version: 21 }, key);
    expect(asked.status).to.equal(202);
    expect(asked.body).to.include({ kind: 'agent.install_java', agent_id: agentId, server_id: null });
    const again = await install({ version: 21 }, key);
    expect([again.status, textAt(again, 'id')]).to.deep.equal([202, textAt(asked, 'id')]);
    expect(codeOf(await install({ version: 17 }, key))).to.equal('422 idempotency-key-reused');

    const recorded = await rows<{ data: unknown }>(
      api.db,
      `SELECT data FROM audit_log WHERE action = 'agent.java-requested'`,
    );
    expect(recorded.map(({ data }) => data)).to.deep.equal([{ version: 21 }]);
  });

  it('is seen and cancelled by administrators', async () => {
    const id = textAt(await install({ version: 21 }), 'id');
    expect((await admin.send(`GET /operations/${id}`)).status).to.equal(200);
    const stranger = await api.signUp();
    expect((await stranger.send(`GET /operations/${id}`)).status).to.equal(404);
    const cancelled = await admin.send(`POST /operations/${id}/cancel`);
    expect(cancelled.body).to.include({ id, state: 'cancelled' });
  });

  it('is refused for an agent that is none, and a version that is none', async () => {
    expect(codeOf(await install({ version: 21 }, randomUUID(), randomUUID()))).to.equal('404 not-found');
    for (const body of [{}, { version: 7 }, { version: '21x' }, { version: 21, more: 1 }])
      expect(codeOf(await install(body)), JSON.stringify(body)).to.equal('400 invalid-request');
  });
});
