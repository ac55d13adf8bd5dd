import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { Registry } from 'prom-client';
import { connectDatabase } from '#src/db/connect.js';
import { ERRORS } from '#src/domain/errors.js';
import { checkReadiness } from '#src/http/system/probes.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';

describe('every request', function () {
  this.timeout(20_000);
  let api: TestApi;
  let user: ApiUser;
  const metrics = new Registry();
  before(async () => {
    api = await startTestApi({ deps: { metrics } });
    user = await api.signUp();
  });
  after(() => api.close());

  it('has an id: the given one, or one that is made', async () => {
    const given = await api.send('GET //healthz', { headers: { 'X-Request-Id': 'trace-1:a.b' } });
    expect(given.headers.get('x-request-id')).to.equal('trace-1:a.b');
    for (const bad of ['spaces in it', 'x'.repeat(129), 'semi;colon']) {
      const made = await api.send('GET //healthz', { headers: { 'X-Request-Id': bad } });
      expect(made.headers.get('x-request-id')).to.match(/^[0-9a-f-]{36}$/);
    }
  });

  it('that fails is answered with a problem that repeats the id and its detail', async () => {
    const answer = await user.send('GET /servers/0e8d5b4e-7a7b-4c0c-9a54-0d9f1c7e2f11', {
      headers: { 'X-Request-Id': 'trace-2' },
    });
    expect(answer.headers.get('content-type')).to.match(/^application\/problem\+json/);
    expect(answer.body).to.deep.equal({
      type: 'urn:aymc:problem:not-found',
      title: ERRORS['not-found'].title,
      status: 404,
      detail: 'There is no such server',
      code: 'not-found',
      instance: '/api/v1/servers/0e8d5b4e-7a7b-4c0c-9a54-0d9f1c7e2f11',
      request_id: 'trace-2',
      error: 'There is no such server',
    });
  });

  it('to nowhere is 404, with a wrong method 405 and Allow; OPTIONS says what is allowed', async () => {
    expect((await api.send('GET /nowhere')).body).to.include({ code: 'route-not-found' });
    expect((await api.send('GET //')).status).to.equal(404);
    const wrong = await user.send('DELETE /auth/me');
    expect(wrong.status).to.equal(405);
    expect(wrong.body).to.include({ code: 'method-not-allowed' });
    expect(wrong.headers.get('allow')?.split(', ')).to.have.members(['GET', 'HEAD', 'PUT', 'OPTIONS']);
    const options = await user.send('OPTIONS /servers');
    expect(options.status).to.equal(204);
    expect(options.headers.get('allow')?.split(', ')).to.include.members(['GET', 'POST']);
    expect((await user.send('PATCH /servers')).status).to.equal(405);
    const fixed = await user.send('PUT /agents/stats', { body: {} });
    expect([codeOf(fixed), fixed.headers.get('allow')]).to.deep.equal([
      '405 method-not-allowed',
      'HEAD, GET, OPTIONS',
    ]);
  });

  it('HEAD answers the headers of GET and no body', async () => {
    const head = await user.send('HEAD /servers');
    expect(head.status).to.equal(200);
    expect(head.headers.get('x-total-count')).to.equal('0');
    expect(head.body).to.equal('');
  });

  describe('body', () => {
    const post = (body: string | Buffer, headers: Record<string, string>) =>
      api.send('POST /auth/login', { body, headers });
    const json = { 'Content-Type': 'application/json' };

    it('must be JSON: broken JSON, other types and scalars are told apart', async () => {
      const cases: [string, Record<string, string>, string][] = [
        ['{"username":', json, '400 invalid-json'],
        ['"text"', json, '400 invalid-json'],
        ['{"__proto__":{"x":1},"password":"x"}', json, '400 invalid-json'],
        ['[]', json, '400 invalid-request'],
        [
          'username=a&password=b',
          { 'Content-Type': 'application/x-www-form-urlencoded' },
          '415 unsupported-media-type',
        ],
        ['{}', { 'Content-Type': 'text/plain' }, '415 unsupported-media-type'],
        ['{}', { ...json, 'Content-Encoding': 'zstd' }, '415 unsupported-media-type'],
        ['', json, '400 invalid-request'],
      ];
      for (const [body, headers, expected] of cases) {
        expect(codeOf(await post(body, headers)), body).to.equal(expected);
      }
    });

    it('larger than 1 MiB is refused, compressed or not', async () => {
      const large = JSON.stringify({ username: 'a', password: 'x'.repeat(1024 * 1024) });
      expect((await post(large, json)).status).to.equal(413);
      expect((await post(gzipSync(large), { ...json, 'Content-Encoding': 'gzip' })).status).to.equal(413);
    });

    it('of wrong types or with unknown keys is refused key by key', async () => {
      const refused = await user.send('POST /servers', {
        body: {
          name: 5,
          server_type: 'paper',
          version: '1.21.4',
          port: '25565',
          auto_start: 'true',
          memory_max: 20.5,
          x: 1,
        },
      });
      expect(refused.status).to.equal(400);
      const errors = rowsOf({ ...refused, body: valueAt(refused, 'errors') });
      expect(errors.map(({ path }) => path)).to.have.members([
        'body.name',
        'body.port',
        'body.auto_start',
        'body.memory_max',
        'body.x',
      ]);
    });
  });

  it('with an unknown or repeated query key, a bad id, or both ways of paging is refused', async () => {
    const refused = [
      ['GET /servers?colour=red', 'query.colour'],
      ['GET /servers?status=running&status=stopped', 'query.status'],
      ['GET /servers?per_page=101', 'query.per_page'],
      ['GET /servers?page=0', 'query.page'],
      ['GET /servers?page=1&limit=5', 'query.page'],
      ['GET /servers?sort=password_hash', 'query.sort'],
      ['GET /agents/not-a-uuid', 'params.id'],
    ];
    for (const [route = '', path] of refused) {
      const answer = await user.send(route);
      expect(answer.status, route).to.equal(400);
      expect(JSON.stringify(valueAt(answer, 'errors')), route).to.include(path?.split('.')[1]);
    }
    expect((await user.send('GET /servers/not-a-uuid')).status).to.equal(400);
  });

  describe('from a browser', () => {
    it('of a listed origin may read the answers and their headers, any other may not', async () => {
      const ours = await api.send('GET //healthz', { headers: { Origin: 'http://localhost:1420' } });
      expect(ours.headers.get('access-control-allow-origin')).to.equal('http://localhost:1420');
      expect(ours.headers.get('access-control-expose-headers')).to.include('X-Total-Count');
      expect(ours.headers.get('vary')).to.include('Origin');
      const others = await api.send('GET //healthz', { headers: { Origin: 'https://evil.example' } });
      expect(others.headers.get('access-control-allow-origin')).to.equal(null);
    });

    it('gets its preflight answered, and CORS headers on errors too', async () => {
      const preflight = await api.send('OPTIONS /servers', {
        headers: {
          Origin: 'http://localhost:1420',
          'Access-Control-Request-Method': 'PUT',
          'Access-Control-Request-Headers': 'authorization,content-type',
        },
      });
      expect(preflight.status).to.equal(204);
      expect(preflight.headers.get('access-control-allow-methods')).to.include('PUT');
      const refused = await api.send('GET /servers', { headers: { Origin: 'http://localhost:1420' } });
      expect(refused.status).to.equal(401);
      expect(refused.headers.get('access-control-allow-origin')).to.equal('http://localhost:1420');
    });

    it('is told by headers what an answer may do', async () => {
      const { headers } = await user.send('GET /servers');
      expect(headers.get('content-security-policy')).to.equal("default-src 'none';frame-ancestors 'none'");
      expect(headers.get('x-content-type-options')).to.equal('nosniff');
      expect(headers.get('cache-control')).to.equal('no-store');
      expect(headers.has('x-powered-by')).to.equal(false);
    });
  });

  it('that breaks something inside says nothing about it', async () => {
    const broken = await startTestApi({
      deps: {
        identities: {
          authenticate: () => Promise.reject(new Error('secret of the house')),
          identify: () => Promise.reject(new Error('secret of the house')),
          forgetUser: () => undefined,
        },
      },
    });
    try {
      const { token } = await broken.signUp();
      const answer = await broken.send('GET /auth/me', { token });
      expect(answer.status).to.equal(500);
      expect(answer.body).to.include({ code: 'internal' });
      expect(JSON.stringify(answer.body)).to.not.include('secret of the house');
    } finally {
      await broken.close();
    }
  });

  it('of a client that sends its headers drop by drop is cut off', async () => {
    const strict = await startTestApi({ http: { headersTimeoutMs: 300 } });
    try {
      const socket = connect(Number(new URL(strict.url).port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      await once(socket, 'close');
      expect(Buffer.concat(chunks).toString()).to.match(/^HTTP\/1.1 408/);
    } finally {
      await strict.close();
    }
  });

  describe('outside the base', () => {
    it('probes tell alive from ready, and name the neighbours', async () => {
      expect((await api.send('GET //healthz')).body).to.deep.equal({ status: 'ok' });
      const ready = await api.send('GET //readyz');
      expect(ready.status).to.equal(200);
      expect(ready.body).to.deep.equal({
        status: 'ready',
        checks: { postgres: 'up', temporal: 'down', redis: 'disabled' },
      });
    });

    it('is not ready without Postgres, and finds out in time', async () => {
      const db = connectDatabase({
        url: 'postgres://aymc@127.0.0.1:1/none',
        poolMax: 1,
        applicationName: 'test',
      });
      const hangs = () => new Promise<'up'>(() => undefined);
      const began = performance.now();
      const readiness = await checkReadiness({
        db,
        neighbours: { temporal: hangs, redis: async () => 'up' },
      });
      expect(readiness).to.deep.equal({
        status: 'unavailable',
        checks: { postgres: 'down', temporal: 'down', redis: 'up' },
      });
      expect(performance.now() - began).to.be.below(4_000);
      await db.close();
    });

    it('metrics count by route template, not by path', async () => {
      await user.send('GET /agents/0e8d5b4e-7a7b-4c0c-9a54-0d9f1c7e2f11');
      const { body, headers } = await api.send('GET //metrics');
      expect(headers.get('content-type')).to.match(/^text\/plain/);
      expect(body).to.include('route="/api/v1/agents/:id",status="404"');
      expect(body).to.not.include('0e8d5b4e');
    });

    it('the description and its page load nothing from elsewhere', async () => {
      const described = await api.send('GET //openapi.json');
      expect(described.status).to.equal(200);
      expect(textAt(described, 'openapi')).to.equal('3.1.0');
      const page = await api.send('GET //docs');
      expect(page.headers.get('content-type')).to.match(/^text\/html/);
      expect(page.headers.get('content-security-policy')).to.include("script-src 'self'");
      expect(page.body).to.not.match(/https?:/);
      for (const [, path] of String(page.body).matchAll(/(?:src|href)="([^"]+)"/g)) {
        const file = await api.send(`GET /${path}`);
        expect(file.status, path).to.equal(200);
        expect(file.headers.get('content-type'), path).to.not.include('octet-stream');
      }
      expect((await api.send('GET //docs/package.json')).status).to.equal(404);
      expect((await api.send('GET //docs/..%2fpackage.json')).status).to.equal(404);
      const moved = await api.send('GET //swagger/index.html');
      expect([moved.status, moved.headers.get('location')]).to.deep.equal([302, '/docs']);
    });
  });
});
