import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { OperationRow, ServerRow } from '#src/db/types.js';
import { buildAgent, buildServer, buildUser } from '#test/build.js';
import {
  codeOf,
  objectOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiAnswer,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

const MINIMAL = { name: 'Survival', server_type: 'paper', version: '1.21.4' };
const SHA256 = 'ab'.repeat(32);

describe('servers', function () {
  this.timeout(20_000);
  let api: TestApi;
  let user: ApiUser;
  let agentId: string;
  before(async () => {
    api = await startTestApi();
    user = await api.signUp();
    agentId = (await buildAgent(api.db)).id;
  });
  after(() => api.close());

  const create = (body: object, headers: Record<string, string> = {}) =>
    user.send('POST /servers', { body, headers });
  const put = (id: string, body: object) => user.send(`PUT /servers/${id}`, { body });
  const mine = (overrides: Partial<ServerRow> = {}) =>
    buildServer(api.db, { user_id: user.id, agent_id: agentId, ...overrides });
  const columns = (id: string) =>
    row<ServerRow>(api.db, 'SELECT * FROM servers WHERE id = $1', { bind: [id] });

  describe('create', () => {
    it('answers the server with the operation that installs it, from name, type and version alone', async () => {
      const answer = await create(MINIMAL);
      expect(answer.status).to.equal(201);
      expect(answer.body).to.include({
        ...MINIMAL,
        type: 'paper',
        user_id: user.id,
        status: 'stopped',
        desired_state: 'stopped',
        installed: false,
        memory_min: 1024,
        memory_max: 2048,
        ram_min: 1024,
        ram_max: 2048,
        max_players: 20,
        auto_start: false,
        auto_restart: true,
        accept_eula: false,
        failover_policy: 'never',
        java_version: null,
      });
      const id = textAt(answer, 'id');
      const operationId = textAt(answer, 'operation_id');
      expect(answer.headers.get('location')).to.equal(`/api/v1/servers/${id}`);
      expect(answer.headers.get('link')).to.equal(`</api/v1/operations/${operationId}>; rel="operation"`);
      const operation = await user.send(`GET /operations/${operationId}`);
      expect(operation.body).to.include({ kind: 'server.provision', server_id: id, requested_by: user.id });
    });

    it('takes what the desktop client sends, under its names', async () => {
      const answer = await create({
        name: 'Servidor de Supervivencia',
        type: 'vanilla',
        version: '1.20.1',
        port: 25_900,
        agent_id: agentId,
        ram_min: 512,
        ram_max: 4096,
        java_version: '17',
        auto_start: false,
      });
      expect(answer.status).to.equal(201);
      expect(answer.body).to.include({ memory_min: 512, ram_max: 4096, java_version: '17', port: 25_900 });
      expect(valueAt(answer, 'connect_address')).to.equal('127.0.0.1:25900');
    });

    it('a default never contradicts what was said about the other end of the memory', async () => {
      expect((await create({ ...MINIMAL, memory_max: 512 })).body).to.include({
        memory_min: 512,
        memory_max: 512,
      });
      expect((await create({ ...MINIMAL, memory_min: 4096 })).body).to.include({
        memory_min: 4096,
        memory_max: 4096,
      });
    });

    it('gives the next free port of the agent, also to many at once', async () => {
      const { id: agent_id } = await buildAgent(api.db);
      await buildServer(api.db, { agent_id, port: 25_566 });
      const answers = await Promise.all(Array.from({ length: 6 }, () => create({ ...MINIMAL, agent_id })));
      expect(answers.map(answer => valueAt(answer, 'port'))).to.have.members([
        25_565, 25_567, 25_568, 25_569, 25_570, 25_571,
      ]);
    });

    it('refuses a port that another server of that agent has, and keeps nothing of the attempt', async () => {
      const { id: agent_id } = await buildAgent(api.db);
      await buildServer(api.db, { agent_id, port: 30_000 });
      expect(codeOf(await create({ ...MINIMAL, agent_id, port: 30_000 }))).to.equal('409 port-taken');
      const left = await rows(api.db, `SELECT 1 FROM servers WHERE agent_id = $1 AND name = 'Survival'`, {
        bind: [agent_id],
      });
      expect(left).to.have.length(0);
      expect((await create({ ...MINIMAL, port: 30_000, agent_id: agentId })).status).to.equal(201);
    });

    it('refuses contradictions and what could reach outside, naming the field', async () => {
      const cases: [object, string][] = [
        [{ memory_min: 4096, memory_max: 2048 }, 'body.memory_min'],
        [{ memory_min: 512, ram_min: 1024 }, 'body.ram_min'],
        [{ type: 'vanilla' }, 'body.type'],
        [{ name: '../../etc' }, 'body.name'],
        [{ name: 'a/b' }, 'body.name'],
        [{ name: 'a\\b' }, 'body.name'],
        [{ name: 'a..b' }, 'body.name'],
        [{ name: 'a\u0000b' }, 'body.name'],
        [{ name: 'a\nb' }, 'body.name'],
        [{ name: '   ' }, 'body.name'],
        [{ name: 'x'.repeat(101) }, 'body.name'],
        [{ version: '../1.21' }, 'body.version'],
        [{ port: 0 }, 'body.port'],
        [{ port: 65_536 }, 'body.port'],
        [{ max_players: 0 }, 'body.max_players'],
        [{ java_args: '-Xmx1G\n-jar evil.jar' }, 'body.java_args'],
        [{ java_version: 'seventeen' }, 'body.java_version'],
        [{ jar_sha256: 'zz', jar_url: 'https://example.com/a.jar' }, 'body.jar_sha256'],
        [{ agent_id: randomUUID() }, 'body.agent_id'],
        [{ status: 'running' }, 'body.status'],
      ];
      for (const [extra, path] of cases) {
        const answer = await create({ ...MINIMAL, ...extra });
        expect(answer.status, JSON.stringify(extra)).to.equal(400);
        expect(JSON.stringify(valueAt(answer, 'errors')), JSON.stringify(extra)).to.include(path);
      }
      const half = await create({ ...MINIMAL, jar_url: 'https://example.com/a.jar' });
      expect(half.status).to.equal(400);
      for (const jar_url of ['file:///etc/passwd', 'https://user:secret@example.com/a.jar']) {
        expect((await create({ ...MINIMAL, jar_url, jar_sha256: SHA256 })).status, jar_url).to.equal(400);
      }
    });

    it('trims a name and keeps its spaces', async () => {
      expect((await create({ ...MINIMAL, name: '  My  World ' })).body).to.include({ name: 'My  World' });
    });

    it('the same request with the same key makes one server, however often and at once', async () => {
      const key = { 'Idempotency-Key': randomUUID() };
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => create({ ...MINIMAL, name: 'Once' }, key)),
      );
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(20).fill(201));
      expect(new Set(answers.map(answer => valueAt(answer, 'id'))).size).to.equal(1);
      expect(new Set(answers.map(answer => valueAt(answer, 'operation_id'))).size).to.equal(1);
      expect(codeOf(await create({ ...MINIMAL, name: 'Twice' }, key))).to.equal('422 idempotency-key-reused');
      for (const bad of ['x'.repeat(256), '', 'two words']) {
        expect((await create(MINIMAL, { 'Idempotency-Key': bad })).status, bad).to.equal(400);
      }
    });

    it('without an agent that is online there is no place', async () => {
      const empty = await startTestApi({ servers: { acceptEula: true } });
      try {
        const someone = await empty.signUp();
        const refused = await someone.send('POST /servers', { body: MINIMAL });
        expect(codeOf(refused)).to.equal('409 no-agent');
        await buildAgent(empty.db, { status: 'offline' });
        await buildAgent(empty.db, { cordoned: true });
        await buildAgent(empty.db, { quarantined: true });
        await buildAgent(empty.db, { maintenance_until: new Date(Date.now() + 60_000) });
        await buildAgent(empty.db, { capabilities: { max_servers: 0 }, cordoned: true });
        expect(codeOf(await someone.send('POST /servers', { body: MINIMAL }))).to.equal('409 no-agent');
        const full = await buildAgent(empty.db, { capabilities: { max_servers: 1 } });
        const first = await someone.send('POST /servers', { body: MINIMAL });
        expect(first.body).to.include({ agent_id: full.id, accept_eula: true });
        expect(codeOf(await someone.send('POST /servers', { body: MINIMAL }))).to.equal('409 no-agent');
      } finally {
        await empty.close();
      }
    });

    it('a server is placed where it can be installed, and not where its jar must be put by hand', async () => {
      const mixed = await startTestApi();
      try {
        const someone = await mixed.signUp();
        const place = (body: object) => someone.send('POST /servers', { body: { ...MINIMAL, ...body } });
        const old = (await buildAgent(mixed.db, { agent_id: 'a', capabilities: { can: ['version-1'] } })).id;
        const refused = await place({ server_type: 'spigot' });
        expect(codeOf(refused)).to.equal('409 no-agent');
        expect(textAt(refused, 'detail')).to.include('spigot').and.include('version 1');
        expect(textAt(await place({}), 'agent_id'), 'paper').to.equal(old);
        expect((await place({ server_type: 'spigot', agent_id: old })).status, 'by hand').to.equal(201);
        const forge = await place({ server_type: 'forge', agent_id: old });
        expect(codeOf(forge)).to.equal('409 no-agent');
        expect(textAt(forge, 'detail')).to.include('installers');
        const able = (await buildAgent(mixed.db, { agent_id: 'b' })).id;
        expect(textAt(await place({ server_type: 'spigot' }), 'agent_id')).to.equal(able);
      } finally {
        await mixed.close();
      }
    });

    it('private URLs are refused where the operator does not allow them', async () => {
      const strict = await startTestApi({ servers: { allowPrivateUrls: false } });
      try {
        const someone = await strict.signUp();
        await buildAgent(strict.db);
        const attempt = (jar_url: string) =>
          someone.send('POST /servers', { body: { ...MINIMAL, jar_url, jar_sha256: SHA256 } });
        expect(codeOf(await attempt('https://169.254.169.254/latest/meta-data'))).to.equal(
          '400 private-address',
        );
        expect(codeOf(await attempt('http://1.1.1.1/a.jar'))).to.equal('400 invalid-request');
        expect((await attempt('https://1.1.1.1/a.jar')).status).to.equal(201);
      } finally {
        await strict.close();
      }
    });

    it('is not for viewers', async () => {
      const viewer = await api.signUp({ role: 'viewer' });
      expect(codeOf(await viewer.send('POST /servers', { body: MINIMAL }))).to.equal('403 forbidden');
    });
  });

  describe('list', () => {
    let lister: ApiUser;
    before(async () => {
      lister = await api.signUp();
      for (const [i, name] of ['alpha', 'beta', 'gamma_1', 'gamma_2', 'gammax1'].entries()) {
        await buildServer(api.db, {
          user_id: lister.id,
          agent_id: agentId,
          name,
          status: i < 2 ? 'running' : 'stopped',
        });
      }
    });
    const names = (answer: ApiAnswer) => rowsOf(answer).map(({ name }) => name);

    it('is a bare array of all, with the total, when no page is asked for', async () => {
      const all = await lister.send('GET /servers?sort=name');
      expect(names(all)).to.deep.equal(['alpha', 'beta', 'gamma_1', 'gamma_2', 'gammax1']);
      expect(all.headers.get('x-total-count')).to.equal('5');
    });

    it('pages either way, with links that lead through all of it', async () => {
      for (const start of ['?sort=name&page=1&per_page=2', '?sort=name&limit=2']) {
        const seen: unknown[] = [];
        let path: string | undefined = `/servers${start}`;
        while (path !== undefined) {
          const page: ApiAnswer = await lister.send(`GET ${path}`);
          expect(page.headers.get('x-total-count')).to.equal('5');
          seen.push(...names(page));
          path = /<\/api\/v1([^>]+)>; rel="next"/.exec(page.headers.get('link') ?? '')?.[1];
        }
        expect(seen).to.deep.equal(['alpha', 'beta', 'gamma_1', 'gamma_2', 'gammax1']);
      }
      const beyond = await lister.send('GET /servers?page=9&per_page=2');
      expect([names(beyond), beyond.headers.get('x-total-count')]).to.deep.equal([[], '5']);
      expect(beyond.headers.get('link')).to.include('page=3&per_page=2>; rel="last"');
    });

    it('filters, searches literally and sorts both ways', async () => {
      expect(names(await lister.send('GET /servers?status=running&sort=-name'))).to.deep.equal([
        'beta',
        'alpha',
      ]);
      expect(names(await lister.send('GET /servers?q=GAMMA_&sort=name'))).to.deep.equal([
        'gamma_1',
        'gamma_2',
      ]);
      expect(names(await lister.send(`GET /servers?agent_id=${randomUUID()}`))).to.deep.equal([]);
      expect(names(await lister.send('GET /servers?server_type=paper'))).to.deep.equal([]);
    });
  });

  describe('change', () => {
    it('takes back the whole object with one thing changed, under either name', async () => {
      const { id } = await mine({ installed: true, version: '1.20.1', java_version: 17 });
      const before = objectOf(await user.send(`GET /servers/${id}`));
      const renamed = await put(id, { ...before, name: 'New name' });
      expect(renamed.status).to.equal(200);
      expect(renamed.body).to.include({ name: 'New name', java_version: '17', version: '1.20.1' });
      const bigger = await put(id, { ...before, ram_max: 8192 });
      expect(bigger.body).to.include({ memory_max: 8192, ram_max: 8192 });
      const smaller = await put(id, { ...before, memory_max: 4096, ram_max: 8192 });
      expect(smaller.body).to.include({ memory_max: 4096 });
      expect(codeOf(await put(id, { memory_max: 1111, ram_max: 2222 }))).to.equal('400 invalid-request');
    });

    it('changes nothing but what is named', async () => {
      const { id } = await mine({
        java_args: '-Dx=1',
        jar_url: 'https://example.com/a.jar',
        jar_sha256: SHA256,
      });
      const before = await columns(id);
      expect((await put(id, { max_players: 5 })).status).to.equal(200);
      const after = await columns(id);
      expect(after).to.deep.equal({ ...before, max_players: 5, updated_at: after?.updated_at });
    });

    it('ignores what operations own', async () => {
      const { id } = await mine();
      const foreign = {
        status: 'running',
        installed: false,
        user_id: randomUUID(),
        agent_id: randomUUID(),
        work_dir: '/etc',
      };
      expect((await put(id, foreign)).status).to.equal(200);
      expect(await columns(id)).to.include({
        status: 'stopped',
        installed: true,
        user_id: user.id,
        agent_id: agentId,
        work_dir: null,
      });
    });

    it('judges the result as a whole', async () => {
      const { id } = await mine({ memory_min: 1024, memory_max: 2048 });
      expect(codeOf(await put(id, { memory_max: 512 }))).to.equal('400 invalid-request');
      expect((await put(id, { memory_min: 256, memory_max: 512 })).status).to.equal(200);
      expect(codeOf(await put(id, { jar_url: 'https://example.com/a.jar' }))).to.equal('400 invalid-request');
    });

    it('refuses a taken port', async () => {
      const [one, other] = [await mine({ port: 31_000 }), await mine({ port: 31_001 })];
      expect(codeOf(await put(one.id, { port: other.port }))).to.equal('409 port-taken');
    });

    it('lets the software change until it is installed, so that a failed install can be mended', async () => {
      const { id } = await mine({ installed: false });
      const jar = {
        jar_url: 'https://example.com/b.jar',
        jar_sha256: SHA256.toUpperCase(),
        version: '1.21.1',
      };
      expect((await put(id, jar)).body).to.include({ ...jar, jar_sha256: SHA256 });
      await rows(api.db, 'UPDATE servers SET installed = true WHERE id = $1 RETURNING id', { bind: [id] });
      expect(codeOf(await put(id, { version: '1.21.4' }))).to.equal('400 invalid-request');
      expect((await put(id, { version: '1.21.1', max_players: 9 })).status).to.equal(200);
    });

    it('many at once never undo one another', async () => {
      const { id } = await mine();
      const changes = [
        { max_players: 7 },
        { auto_start: true },
        { display_name: 'Shown' },
        { java_version: 21 },
        { failover_policy: 'manual' },
      ];
      await Promise.all(changes.map(change => put(id, change)));
      expect(await columns(id)).to.include(Object.assign({}, ...changes));
    });
  });

  describe('actions', () => {
    const act = (id: string, verb: string, headers: Record<string, string> = {}) =>
      user.send(`POST /servers/${id}/${verb}`, { headers });

    it('answer 202 with the operation and where to watch it, without Temporal', async () => {
      for (const [verb, kind] of [
        ['start', 'server.start'],
        ['stop?force=true', 'server.stop'],
        ['restart', 'server.restart'],
        ['kill', 'server.kill'],
        ['provision', 'server.provision'],
      ] as const) {
        const { id } = await mine();
        const answer = await act(id, verb);
        expect(answer.status, verb).to.equal(202);
        expect(answer.body, verb).to.include({ kind, state: 'accepted', server_id: id, trigger: 'user' });
        expect(answer.headers.get('location')).to.equal(`/api/v1/operations/${textAt(answer, 'id')}`);
        expect(answer.headers.get('link')).to.include('rel="operation"');
        expect((await user.send(`GET /servers/${id}`)).body).to.include({
          operation_id: textAt(answer, 'id'),
        });
      }
      const { id } = await mine();
      expect((await user.send(`DELETE /servers/${id}`)).body).to.include({ kind: 'server.delete' });
    });

    it('carry the request id into the operation', async () => {
      const { id } = await mine();
      const answer = await act(id, 'start', { 'X-Request-Id': 'trace-3' });
      const kept = await row<OperationRow>(api.db, 'SELECT * FROM operations WHERE id = $1', {
        bind: [textAt(answer, 'id')],
      });
      expect(kept?.request_id).to.equal('trace-3');
    });

    it('refuse to start what is not installed, unless its install is on the way; or without the EULA', async () => {
      const bare = await mine({ installed: false });
      const eula = await mine({ accept_eula: false });
      for (const verb of ['start', 'restart']) {
        expect(codeOf(await act(bare.id, verb))).to.equal('409 not-installed');
        expect(codeOf(await act(eula.id, verb))).to.equal('409 eula-not-accepted');
      }
      expect((await act(bare.id, 'provision')).status).to.equal(202);
      expect((await act(bare.id, 'start')).status).to.equal(202);
      expect((await put(eula.id, { accept_eula: true })).status).to.equal(200);
      expect((await act(eula.id, 'start')).status).to.equal(202);
    });

    it('fifty times at once with one key are one operation; without a key, one takes effect', async () => {
      const { id } = await mine();
      const key = { 'Idempotency-Key': randomUUID() };
      const answers = await Promise.all(Array.from({ length: 50 }, () => act(id, 'start', key)));
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(50).fill(202));
      expect(new Set(answers.map(answer => textAt(answer, 'id'))).size).to.equal(1);

      const other = await mine();
      const loose = await Promise.all(Array.from({ length: 10 }, () => act(other.id, 'start')));
      const states = loose.map(answer => textAt(answer, 'state'));
      expect(states.filter(state => state === 'accepted')).to.have.length(1);
      expect(states.filter(state => state === 'cancelled')).to.have.length(9);
    });

    it('a repeated key answers its operation even after what it was refused for has come about', async () => {
      const { id } = await mine();
      const key = { 'Idempotency-Key': randomUUID() };
      const first = await act(id, 'start', key);
      await rows(
        api.db,
        'UPDATE servers SET accept_eula = false, installed = false WHERE id = $1 RETURNING id',
        { bind: [id] },
      );
      const again = await act(id, 'start', key);
      expect(valueAt(again, 'id')).to.equal(textAt(first, 'id'));
      expect(codeOf(await act(id, 'stop', key))).to.equal('422 idempotency-key-reused');
    });

    it('a repeated DELETE with its key finds its operation when the server is gone; without, there is no server', async () => {
      const { id } = await mine();
      const headers = { 'Idempotency-Key': randomUUID() };
      const first = await user.send(`DELETE /servers/${id}`, { headers });
      await rows(api.db, 'DELETE FROM servers WHERE id = $1 RETURNING id', { bind: [id] });
      const again = await user.send(`DELETE /servers/${id}`, { headers });
      expect([again.status, valueAt(again, 'id')]).to.deep.equal([202, textAt(first, 'id')]);
      expect(codeOf(await user.send(`DELETE /servers/${id}`))).to.equal('404 not-found');
    });

    it('after a delete nothing else is taken on', async () => {
      const { id } = await mine();
      expect((await user.send(`DELETE /servers/${id}`)).status).to.equal(202);
      expect(codeOf(await act(id, 'start'))).to.equal('409 server-deleting');
    });
  });

  it("a key belongs to its user: another user's same key is another operation", async () => {
    const other = await api.signUp();
    const headers = { 'Idempotency-Key': 'shared-by-accident' };
    const one = await user.send('POST /servers', { body: MINIMAL, headers });
    const two = await other.send('POST /servers', { body: MINIMAL, headers });
    expect(textAt(one, 'id')).to.not.equal(textAt(two, 'id'));
  });

  it('deactivated users can do nothing, within seconds and with a good token', async () => {
    const short = await api.signUp();
    await deactivate(api.db, short.id);
    // Its first request after the sign-in: nothing is remembered about it yet.
    expect(codeOf(await short.send('GET /servers'))).to.equal('401 unauthenticated');
    expect((await buildUser(api.db)).is_active).to.equal(true);
  });
});

function deactivate(db: Database, id: string) {
  return rows(db, 'UPDATE users SET is_active = false WHERE id = $1 RETURNING id', { bind: [id] });
}
