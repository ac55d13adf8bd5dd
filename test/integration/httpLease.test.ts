import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { readLeaseStanding } from '#src/db/leases.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { buildAgent, buildServer } from '../build.js';
import { codeOf, objectOf, rowsOf, startTestApi, valueAt, type TestApi } from '../harness/api.js';

const CAN_LEASE = { can: ['work', 'leases'] };
const TOKEN = 'token-of-the-agent';

describe('renewing a lease', () => {
  let api: TestApi;
  const jwtSecret = createSecretKey(randomBytes(32));

  before(async () => {
    api = await startTestApi({ auth: { jwtSecret }, lease: { ttlMs: 6_000, renewMs: 2_000 } });
  });
  after(() => api.close());

  const buildLeasing = (overrides: Partial<AgentRow> = {}) =>
    buildAgent(api.db, {
      capabilities: CAN_LEASE,
      token: sealSecret(deriveSecretKey(jwtSecret), TOKEN),
      ...overrides,
    });
  const own = (agent: AgentRow, overrides: Partial<ServerRow>) =>
    buildServer(api.db, { agent_id: agent.id, ...overrides });
  const bodyOf = (agentId: string, servers: unknown[] = []) => ({
    agent_id: agentId,
    boot_id: randomUUID(),
    incarnation: randomUUID(),
    servers,
  });
  const renew = (body: unknown, token: string | null = TOKEN) =>
    api.send('POST /agent/lease', { body, token });
  const seqOf = async (agent: AgentRow) =>
    (await row<AgentRow>(api.db, 'SELECT * FROM agents WHERE id = $1', { bind: [agent.id] }))?.lease_seq;

  it('counts up, and answers every server of the agent with its epoch and whether it lives under the lease', async () => {
    const agent = await buildLeasing();
    const auto = await own(agent, { failover_policy: 'auto', owner_epoch: 4 });
    const manual = await own(agent, { failover_policy: 'manual' });
    const never = await own(agent, { failover_policy: 'never' });
    await buildServer(api.db, { failover_policy: 'auto' });

    const first = await renew(bodyOf(agent.agent_id));
    expect(first.status).to.equal(200);
    expect(first.body).to.include({ lease_seq: 1, ttl_ms: 6_000, renew_ms: 2_000 });
    expect(valueAt(first, 'servers')).to.have.deep.members([
      { id: auto.id, epoch: 4, leased: true },
      { id: manual.id, epoch: 1, leased: true },
      { id: never.id, epoch: 1, leased: false },
    ]);
    const byRowId = await renew(bodyOf(agent.id));
    expect(byRowId.body).to.include({ lease_seq: 2 });
  });

  it('counts each of many at the same time', async () => {
    const agent = await buildLeasing();
    const answers = await Promise.all(Array.from({ length: 20 }, () => renew(bodyOf(agent.agent_id))));
    const seqs = answers.map(answer => valueAt(answer, 'lease_seq'));
    expect(new Set(seqs).size).to.equal(20);
    expect(await seqOf(agent)).to.equal(20);
  });

  it('puts no server under a lease of an agent that has not said that it can', async () => {
    for (const capabilities of [null, { can: ['work'] }]) {
      const agent = await buildLeasing({ capabilities });
      await own(agent, { failover_policy: 'auto' });
      expect(valueAt(await renew(bodyOf(agent.agent_id)), 'servers.0.leased')).to.equal(false);
    }
  });

  it('tells which of the reported servers are another agent’s, nobody’s, or of an older epoch', async () => {
    const agent = await buildLeasing();
    const current = await own(agent, { owner_epoch: 2 });
    const old = await own(agent, { owner_epoch: 2 });
    const foreign = await buildServer(api.db);
    const gone = randomUUID();
    const answer = await renew(
      bodyOf(agent.agent_id, [
        { id: current.id, epoch: 2, state: 'running' },
        { id: old.id, epoch: 1, state: 'running' },
        { id: foreign.id, epoch: 1, state: 'stopped' },
        { id: gone, epoch: 0, state: 'crashed' },
      ]),
    );
    expect(valueAt(answer, 'stale')).to.deep.equal([
      { id: old.id, epoch: 1 },
      { id: foreign.id, epoch: 1 },
      { id: gone, epoch: 0 },
    ]);
  });

  it('is refused while the lease is frozen, and changes nothing', async () => {
    const agent = await buildLeasing({ lease_frozen: true, lease_seq: 7 });
    expect(codeOf(await renew(bodyOf(agent.agent_id)))).to.equal('409 lease-frozen');
    expect(await seqOf(agent)).to.equal(7);
  });

  it('is held by who renews it, not until the last moment of a grant, which is over earlier at the agent', async () => {
    const { id } = await buildAgent(api.db);
    const holdsAfter = async (seconds: number | null) => {
      await rows(
        api.db,
        `UPDATE agents SET lease_renewed_at = now() - $2 * interval '1 second' WHERE id = $1 RETURNING id`,
        { bind: [id, seconds] },
      );
      return (await readLeaseStanding(api.db, id, 60_000)).holds;
    };
    expect(await holdsAfter(null)).to.equal(false);
    expect(await holdsAfter(20)).to.equal(true);
    expect(await holdsAfter(35)).to.equal(false);
    expect(await holdsAfter(61)).to.equal(false);
  });

  it('refuses whoever is not that agent, always in the same words', async () => {
    const agent = await buildLeasing();
    const other = await buildLeasing({ token: sealSecret(deriveSecretKey(jwtSecret), 'another token') });
    const tokenless = await buildLeasing({ token: null });
    const user = await api.signUp({ role: 'admin' });
    const refusals = await Promise.all([
      renew(bodyOf(agent.agent_id), 'wrong'),
      renew(bodyOf(agent.agent_id), `${TOKEN}x`),
      renew(bodyOf(agent.agent_id), user.token),
      renew(bodyOf('no-such-agent')),
      renew(bodyOf(randomUUID())),
      renew(bodyOf(other.agent_id)),
      renew(bodyOf(tokenless.agent_id)),
      renew({ ...bodyOf(''), agent_id: { $ne: null } }),
      renew('[]'),
    ]);
    for (const answer of refusals) {
      expect(codeOf(answer)).to.equal('401 unauthenticated');
      expect(answer.headers.get('www-authenticate')).to.match(/^Bearer/);
      expect(valueAt(answer, 'detail')).to.equal(valueAt(refusals[0] ?? answer, 'detail'));
    }
    expect(codeOf(await renew(bodyOf(agent.agent_id), null))).to.equal('401 unauthenticated');
    expect(await seqOf(agent)).to.equal(0);
  });

  it('takes only what is as described, and not too much of it', async () => {
    const agent = await buildLeasing();
    const server = { id: randomUUID(), epoch: 1, state: 'running' };
    const good = bodyOf(agent.agent_id, [server]);
    const many = Array.from({ length: 1001 }, () => ({ ...server, id: randomUUID() }));
    for (const [what, body] of Object.entries({
      'too many servers': { ...good, servers: many },
      'no servers': { ...good, servers: undefined },
      'a server without a UUID': { ...good, servers: [{ ...server, id: '../x' }] },
      'a negative epoch': { ...good, servers: [{ ...server, epoch: -1 }] },
      'an unknown state': { ...good, servers: [{ ...server, state: 'flying' }] },
      'no boot id': { ...good, boot_id: undefined },
      'an unknown key': { ...good, lease_seq: 9 },
    }))
      expect(codeOf(await renew(body)), what).to.equal('400 invalid-request');
    const huge = { ...good, padding: 'x'.repeat(2 * 1024 * 1024) };
    expect(codeOf(await renew(huge))).to.equal('413 body-too-large');
    expect(await seqOf(agent)).to.equal(0);
  });

  it('shows in the agent: its count, its time, its servers; nothing of an agent that can’t', async () => {
    const agent = await buildLeasing();
    await own(agent, { failover_policy: 'auto' });
    await own(agent, { failover_policy: 'never' });
    const unable = await buildLeasing({ capabilities: { can: ['work'] } });
    const { send } = await api.signUp({ role: 'admin' });
    const before = await send(`GET /agents/${agent.id}`);
    const lease = { seq: 0, renewed_at: null, frozen: false, ttl_ms: 6_000, servers: 1 };
    expect(valueAt(before, 'lease')).to.deep.equal(lease);

    await renew(bodyOf(agent.agent_id));
    const after = await send(`GET /agents/${agent.id}`);
    expect(valueAt(after, 'lease.seq')).to.equal(1);
    expect(Date.now() - Date.parse(String(valueAt(after, 'lease.renewed_at')))).to.be.lessThan(60_000);
    const listed = rowsOf(await send('GET /agents')).find(({ id }) => id === agent.id);
    expect(listed?.['lease']).to.deep.equal(valueAt(after, 'lease'));
    expect(valueAt(await send(`GET /agents/${unable.id}`), 'lease')).to.equal(null);
    const put = await send(`PUT /agents/${agent.id}`, { body: { ...objectOf(after), zone: 'fra' } });
    expect(put.status, 'the whole object may be sent back').to.equal(200);
  });
});
