import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { Permission } from '#src/domain/permissions.js';
import { rows } from '#src/db/sql.js';
import { ROUTES } from '#src/http/routes.js';
import { buildAgent, buildOperation, buildServer } from '#test/build.js';
import {
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiAnswer,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

type Who = 'nobody' | 'stranger' | 'viewer' | 'player' | 'reader' | 'operator' | 'owner' | 'admin';

describe('who may do what', function () {
  this.timeout(30_000);
  let api: TestApi;
  let agentId: string;
  const people = new Map<Who, ApiUser>();
  const membership = new Map<Who, Permission[]>([
    [
      'viewer',
      ['console.read', 'console.write', 'power', 'settings', 'files.read', 'files.write', 'members'],
    ],
    ['player', []],
    ['reader', ['console.read', 'files.read']],
    ['operator', ['console.read', 'console.write', 'power', 'settings', 'files.read', 'files.write']],
  ]);

  before(async () => {
    api = await startTestApi();
    agentId = (await buildAgent(api.db, { port: 1 })).id;
    for (const who of ['stranger', 'player', 'reader', 'operator', 'owner'] as const)
      people.set(who, await api.signUp());
    people.set('viewer', await api.signUp({ role: 'viewer' }));
    people.set('admin', await api.signUp({ role: 'admin' }));
  });
  after(() => api.close());

  const person = (who: Who): ApiUser => {
    const found = people.get(who);
    if (!found) throw new Error(`there is no ${who}`);
    return found;
  };

  async function sharedServer(): Promise<string> {
    const server = await buildServer(api.db, { user_id: person('owner').id, agent_id: agentId });
    for (const [who, permissions] of membership) {
      await rows(
        api.db,
        'INSERT INTO server_members (server_id, user_id, permissions) VALUES ($1, $2, $3) RETURNING server_id',
        {
          bind: [server.id, person(who).id, permissions],
        },
      );
    }
    return server.id;
  }

  /** What each of them is answered, in this order: the statuses that matter here are 401, 403, 404 and "got through". */
  const everyone: Who[] = ['nobody', 'stranger', 'viewer', 'player', 'reader', 'operator', 'owner', 'admin'];
  const MATRIX: [rule: string, (401 | 403 | 404 | 'in')[]][] = [
    ['server:view', [401, 404, 'in', 'in', 'in', 'in', 'in', 'in']],
    ['server:console.read', [401, 404, 'in', 403, 'in', 'in', 'in', 'in']],
    ['server:power', [401, 404, 403, 403, 403, 'in', 'in', 'in']],
    ['server:settings', [401, 404, 403, 403, 403, 'in', 'in', 'in']],
    ['server:console.write', [401, 404, 403, 403, 403, 'in', 'in', 'in']],
    ['server:files.read', [401, 404, 403, 403, 'in', 'in', 'in', 'in']],
    ['server:files.write', [401, 404, 403, 403, 403, 'in', 'in', 'in']],
    ['server:own', [401, 404, 403, 403, 403, 403, 'in', 'in']],
    ['server:members', [401, 404, 403, 403, 403, 403, 'in', 'in']],
  ];

  for (const [rule, expected] of MATRIX) {
    const routes = ROUTES.filter(route => route.rule === rule);
    for (const { method, path } of routes) {
      it(`${method} ${path} (${rule})`, async () => {
        for (const [i, who] of everyone.entries()) {
          const id = await sharedServer();
          const send = who === 'nobody' ? api.send : person(who).send;
          const filled = path
            .replace('/api/v1', '')
            .replace(':id', id)
            .replace(':user_id', person('player').id);
          const answer = await send(`${method} ${filled}`);
          const seen = [401, 403, 404].includes(answer.status) ? answer.status : 'in';
          expect(seen, who).to.equal(expected[i]);
        }
      });
    }
  }

  it('every rule about servers that a route has is in the table above', () => {
    const rules = new Set(ROUTES.map(({ rule }) => rule).filter(rule => /^server:(?!create)/.test(rule)));
    expect([...rules]).to.have.members(MATRIX.map(([rule]) => rule));
  });

  it('every other route refuses who is not signed in, unless it is for anyone', async () => {
    for (const { method, path, rule } of ROUTES.filter(route => route.rule !== 'anyone')) {
      const answer = await api.send(
        `${method} ${path.replace('/api/v1', '').replace(/:\w+/g, randomUUID())}`,
      );
      expect([answer.status, valueAt(answer, 'code')], `${method} ${path} (${rule})`).to.deep.equal([
        401,
        'unauthenticated',
      ]);
    }
  });

  it('an agent’s own routes refuse every person', async () => {
    const routes = ROUTES.filter(({ rule }) => rule === 'agent');
    expect(routes.map(({ method, path }) => `${method} ${path}`)).to.deep.equal(['POST /api/v1/agent/lease']);
    const { agent_id } = await buildAgent(api.db, { token: null });
    for (const { method, path } of routes) {
      for (const who of everyone.slice(1)) {
        const answer = await person(who).send(`${method} ${path.replace('/api/v1', '')}`, {
          body: { agent_id },
        });
        expect([answer.status, valueAt(answer, 'code')], who).to.deep.equal([401, 'unauthenticated']);
      }
    }
  });

  it('every admin route refuses everyone else', async () => {
    const admins = ROUTES.filter(({ rule }) => rule === 'admin');
    expect(admins.length).to.be.at.least(4);
    for (const { method, path } of admins) {
      for (const who of ['owner', 'viewer'] as const) {
        const answer = await person(who).send(
          `${method} ${path.replace('/api/v1', '').replace(/:\w+/g, randomUUID())}`,
        );
        expect(answer.status, `${who}: ${method} ${path}`).to.equal(403);
      }
    }
  });

  describe("another user's servers and operations", () => {
    it('are not in anyone’s lists but those who see them', async () => {
      const id = await sharedServer();
      const operation = await buildOperation(api.db, { server_id: id });
      const ids = (answer: ApiAnswer) => rowsOf(answer).map(found => found['id']);
      for (const who of everyone.slice(1)) {
        const { send } = person(who);
        const sees = who !== 'stranger';
        expect(ids(await send('GET /servers')).includes(id), who).to.equal(sees);
        expect(ids(await send(`GET /operations?server_id=${id}`)).includes(operation.id), who).to.equal(sees);
        for (const path of ['', '/events']) {
          expect((await send(`GET /operations/${operation.id}${path}`)).status, `${who} ${path}`).to.equal(
            sees ? 200 : 404,
          );
        }
      }
    });

    it('can’t be listed by naming their owner', async () => {
      await sharedServer();
      const { body } = await person('stranger').send(`GET /servers?user_id=${person('owner').id}`);
      expect(body).to.deep.equal([]);
    });

    it('are cancelled by those who might ask for them', async () => {
      for (const who of everyone.slice(1)) {
        const id = await sharedServer();
        const started = await person('owner').send(`POST /servers/${id}/start`);
        const answer = await person(who).send(`POST /operations/${textAt(started, 'id')}/cancel`);
        const expected = who === 'stranger' ? 404 : ['operator', 'owner', 'admin'].includes(who) ? 202 : 403;
        expect(answer.status, who).to.equal(expected);
      }
    });
  });

  describe('an operation', () => {
    it('is cancelled before it begins, once; the end is an end', async () => {
      const { send } = person('owner');
      const started = await send(`POST /servers/${await sharedServer()}/start`);
      const path = `/operations/${textAt(started, 'id')}`;
      const cancelled = await send(`POST ${path}/cancel`);
      expect(cancelled.body).to.include({ state: 'cancelled' });
      expect(cancelled.headers.get('location')).to.equal(`/api/v1${path}`);
      expect(valueAt(await send(`POST ${path}/cancel`), 'code')).to.equal('operation-finished');
      const events = await send(`GET ${path}/events`);
      expect(rowsOf(events).map(({ seq, type }) => [seq, type])).to.deep.include([1, 'accepted']);
    });

    it('gives its events in pages that leave nothing out', async () => {
      const { send } = person('owner');
      const started = await send(`POST /servers/${await sharedServer()}/start`);
      const path = `/operations/${textAt(started, 'id')}`;
      await send(`POST ${path}/cancel`);
      const all = rowsOf(await send(`GET ${path}/events`));
      const paged: unknown[] = [];
      let next: string | undefined = `${path}/events?limit=1`;
      while (next !== undefined) {
        const page: ApiAnswer = await send(`GET ${next}`);
        paged.push(...rowsOf(page).map(({ seq }) => seq));
        next = /<\/api\/v1([^>]+)>/.exec(page.headers.get('link') ?? '')?.[1];
      }
      expect(paged).to.deep.equal(all.map(({ seq }) => seq));
      expect((await send(`GET ${path}/events?after_seq=${all.length}`)).body).to.deep.equal([]);
    });

    it('is listed by kind and state', async () => {
      const id = await sharedServer();
      const { send } = person('owner');
      await send(`POST /servers/${id}/start`);
      await send(`POST /servers/${id}/stop`);
      const stops = await send(`GET /operations?server_id=${id}&kind=server.stop`);
      expect(stops.body).to.have.length(1);
      expect(stops.headers.get('x-total-count')).to.equal('1');
      expect((await send('GET /operations?state=nonsense')).status).to.equal(400);
    });

    it('that does not wait for an operator can’t be resolved', async () => {
      const started = await person('owner').send(`POST /servers/${await sharedServer()}/start`);
      const resolve = (id: string) =>
        person('admin').send(`POST /operations/${id}/resolve`, { body: { action: 'close' } });
      expect(valueAt(await resolve(textAt(started, 'id')), 'code')).to.equal('not-resting');
      expect((await resolve(randomUUID())).status).to.equal(404);
    });

    it('outlives its server for who asked for it, and for nobody else but admins', async () => {
      const id = await sharedServer();
      const started = await person('owner').send(`POST /servers/${id}/start`);
      await rows(api.db, 'DELETE FROM servers WHERE id = $1 RETURNING id', { bind: [id] });
      for (const who of everyone.slice(1)) {
        const answer = await person(who).send(`GET /operations/${textAt(started, 'id')}`);
        expect(answer.status, who).to.equal(['owner', 'admin'].includes(who) ? 200 : 404);
      }
    });
  });
});
