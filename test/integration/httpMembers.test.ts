import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { rows } from '#src/db/sql.js';
import type { Permission } from '#src/domain/permissions.js';
import { buildAgent, buildServer } from '#test/build.js';
import { codeOf, rowsOf, startTestApi, valueAt, type ApiUser, type TestApi } from '#test/harness/api.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('sharing a server', function () {
  this.timeout(20_000);
  let api: TestApi;
  let owner: ApiUser;
  let agentId: string;
  before(async () => {
    api = await startTestApi();
    owner = await api.signUp();
    agentId = (await buildAgent(api.db, { port: 1 })).id;
  });
  after(() => api.close());

  const newServer = async () => (await buildServer(api.db, { user_id: owner.id, agent_id: agentId })).id;
  const share = (by: ApiUser, server: string, withWhom: string, permissions: Permission[]) =>
    by.send(`PUT /servers/${server}/members/${withWhom}`, { body: { permissions } });
  const unshare = (by: ApiUser, server: string, withWhom: string) =>
    by.send(`DELETE /servers/${server}/members/${withWhom}`);

  it('takes effect at once, both ways, and tells those who watch', async () => {
    const server = await newServer();
    const friend = await api.signUp();
    const told: string[] = [];
    const unsubscribe = api.bus.subscribe('access-changed', ({ user_id }) => void told.push(user_id));
    const heard = () => waitFor(() => told.splice(0).includes(friend.id), { what: 'access-changed' });
    try {
      expect(codeOf(await friend.send(`GET /servers/${server}`))).to.equal('404 not-found');
      const shared = await share(owner, server, friend.id, ['power']);
      expect(shared.status).to.equal(200);
      expect(shared.body).to.deep.include({ username: friend.username, permissions: ['power'] });
      await heard();
      expect((await friend.send(`GET /servers/${server}`)).status).to.equal(200);
      expect((await friend.send(`POST /servers/${server}/stop`)).status).to.equal(202);
      await share(owner, server, friend.id, []);
      await heard();
      expect((await friend.send(`POST /servers/${server}/stop`)).status).to.equal(403);
      expect((await unshare(owner, server, friend.id)).status).to.equal(204);
      await heard();
      expect(codeOf(await friend.send(`GET /servers/${server}`))).to.equal('404 not-found');
      expect(codeOf(await unshare(owner, server, friend.id))).to.equal('404 not-found');
    } finally {
      unsubscribe();
    }
  });

  it('lists who may what', async () => {
    const server = await newServer();
    const [a, b] = [await api.signUp(), await api.signUp()];
    await share(owner, server, a.id, ['backups', 'console.read']);
    await share(owner, server, b.id, []);
    const members = rowsOf(await owner.send(`GET /servers/${server}/members`));
    expect(new Map(members.map(({ user_id, permissions }) => [user_id, permissions]))).to.deep.equal(
      new Map<unknown, unknown>([
        [a.id, ['backups', 'console.read']],
        [b.id, []],
      ]),
    );
  });

  it('a member gives and takes only what they have, and only with the permission `members`', async () => {
    const server = await newServer();
    const [manager, friend, plain] = [await api.signUp(), await api.signUp(), await api.signUp()];
    await share(owner, server, manager.id, ['members', 'power', 'console.read']);
    await share(owner, server, plain.id, ['power']);
    expect(codeOf(await share(plain, server, friend.id, ['power']))).to.equal('403 forbidden');
    expect((await share(manager, server, friend.id, ['power'])).status).to.equal(200);
    expect(codeOf(await share(manager, server, friend.id, ['power', 'backups']))).to.equal('403 forbidden');
    // What the owner gave beyond that stays, and can be neither taken nor removed.
    await share(owner, server, friend.id, ['power', 'backups']);
    expect(codeOf(await share(manager, server, friend.id, ['power']))).to.equal('403 forbidden');
    expect(codeOf(await unshare(manager, server, friend.id))).to.equal('403 forbidden');
    expect((await share(manager, server, friend.id, ['backups'])).status).to.equal(200);
    // Nor can they raise themselves.
    const more: Permission[] = ['members', 'power', 'console.read', 'settings'];
    expect(codeOf(await share(manager, server, manager.id, more))).to.equal('403 forbidden');
    const admin = await api.signUp({ role: 'admin' });
    expect((await unshare(admin, server, friend.id)).status).to.equal(204);
  });

  it('refuses the owner, people who do not exist, and permissions that do not', async () => {
    const server = await newServer();
    expect(codeOf(await share(owner, server, owner.id, ['power']))).to.equal('400 invalid-request');
    expect(codeOf(await share(owner, server, randomUUID(), []))).to.equal('404 not-found');
    const friend = await api.signUp();
    for (const permissions of [['own'], ['power', 'power'], 'power']) {
      const answer = await owner.send(`PUT /servers/${server}/members/${friend.id}`, {
        body: { permissions },
      });
      expect(codeOf(answer)).to.equal('400 invalid-request');
    }
  });

  it('is one membership, also of two changes at once, each of which is recorded', async () => {
    const server = await newServer();
    const friend = await api.signUp();
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        share(owner, server, friend.id, i % 2 === 0 ? ['power'] : ['backups']),
      ),
    );
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(6).fill(200));
    const admin = await api.signUp({ role: 'admin' });
    const entries = rowsOf(await admin.send(`GET /audit?target_id=${server}&action=member.updated`));
    expect(entries).to.have.length(6);
    const members = await rows(api.db, 'SELECT 1 FROM server_members WHERE server_id = $1', {
      bind: [server],
    });
    expect(members).to.have.length(1);
    expect(valueAt(await owner.send(`GET /servers/${server}/members`), '0.user_id')).to.equal(friend.id);
  });
});
