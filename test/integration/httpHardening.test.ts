import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'chai';
import { ROUTES } from '#src/http/routes.js';
import { buildOpenApi } from '#src/http/openApi.js';
import { isObject } from '#src/http/jsonSchema.js';
import { createLogger } from '#src/observability/logger.js';
import { codeOf, startTestApi, type TestApi, type TestApiOptions } from '#test/harness/api.js';
import { waitFor } from '#test/harness/waitFor.js';

/** Bytes as they are on the wire, since no client of HTTP would send them. */
async function open(
  api: TestApi,
): Promise<{ socket: Socket; received: () => string; closed: Promise<unknown> }> {
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined); // told by `closed`
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  return { socket, received: () => Buffer.concat(chunks).toString(), closed };
}

async function answerTo(api: TestApi, bytes: string): Promise<string> {
  const { socket, received, closed } = await open(api);
  socket.write(bytes);
  await closed;
  return received().split('\r\n', 1)[0] ?? '';
}

async function withApi(options: TestApiOptions, use: (api: TestApi) => Promise<void>): Promise<void> {
  const api = await startTestApi(options);
  try {
    await use(api);
  } finally {
    await api.close();
  }
}

describe('the HTTP server against bad clients', function () {
  this.timeout(30_000);
  let api: TestApi;
  before(async () => {
    api = await startTestApi({
      http: { requestTimeoutMs: 400, headersTimeoutMs: 400, keepAliveTimeoutMs: 300 },
    });
  });
  after(() => api.close());

  it('cuts off a body that comes drop by drop', async () => {
    const head = 'POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
    expect(await answerTo(api, `${head}Content-Length: 100\r\n\r\n{"username":`)).to.match(/ 408 /);
  });

  it('closes a connection that asks for nothing more', async () => {
    const { socket, received, closed } = await open(api);
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await closed;
    expect(received()).to.match(/^HTTP\/1\.1 200 /);
  });

  it('refuses headers of more than 16 KiB', async () => {
    const answer = await answerTo(
      api,
      `GET /healthz HTTP/1.1\r\nHost: x\r\nX-Much: ${'x'.repeat(17_000)}\r\n\r\n`,
    );
    expect(answer).to.match(/ 431 /);
  });

  it('refuses requests whose length can be read in two ways', async () => {
    const head = 'POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
    for (const twoWays of [
      'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ',
      'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
      'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n',
    ]) {
      expect(await answerTo(api, head + twoWays), twoWays).to.match(/ 400 /);
    }
  });

  it('serves so many connections of one address, and the next when one has gone', async () => {
    await withApi({ http: { maxConnectionsPerIp: 2 } }, async limited => {
      const kept = [await open(limited), await open(limited)];
      const third = await open(limited);
      await third.closed;
      kept[0]?.socket.destroy();
      await kept[0]?.closed;
      await waitFor(
        async () => (await limited.send('GET //healthz').catch(() => undefined))?.status === 200,
        {
          what: 'room for another connection',
        },
      );
      kept[1]?.socket.destroy();
    });
  });

  it('refuses connections beyond those that it can serve', async () => {
    await withApi({ http: { maxConnections: 1 } }, async limited => {
      const first = await open(limited);
      const second = await open(limited);
      await second.closed;
      first.socket.destroy();
    });
  });
});

describe('the log', function () {
  this.timeout(30_000);
  const MARK = 'xk7-not-for-any-log';
  const SECRET_NAME = /password|token|secret|key|credential/i;

  it('holds no secret that any route was sent: not from headers, bodies or queries', async () => {
    const lines: string[] = [];
    const logger = createLogger({
      level: 'trace',
      name: 'api',
      destination: { write: line => lines.push(line) },
    });
    await withApi({ deps: { logger } }, async api => {
      const admin = await api.signUp({ role: 'admin' });
      const headers = { Cookie: `session=${MARK}`, 'X-Api-Key': MARK };
      for (const [route, body] of requests()) {
        await api.send(route, { body, token: `${MARK}.${MARK}.${MARK}`, headers });
        await api.send(`${route}?token=${MARK}&api_key=${MARK}&password=${MARK}`, {
          body,
          token: admin.token,
          headers,
        });
        if (body !== undefined) {
          const broken = await api.send(route, { body: `{"password":"${MARK}"`, token: admin.token });
          expect(JSON.stringify(broken.body), route).to.not.include(MARK);
        }
      }
      await waitFor(() => lines.filter(line => line.includes('"answered"')).length >= 2 * ROUTES.length, {
        what: 'a line for each request',
      });
      expect(lines.filter(line => line.includes(MARK) || line.includes(admin.token))).to.deep.equal([]);
    });
  });

  /** Every route but those that end the session, with its example body in which all that sounds like a secret is marked. */
  function requests(): [route: string, body: unknown][] {
    const { paths } = buildOpenApi(ROUTES);
    return Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]): [string, unknown] => {
        const filled = path.replace(/\{\w+\}/g, '0e8d5b4e-7a7b-4c0c-9a54-0d9f1c7e2f11');
        return [
          `${method.toUpperCase()} /${filled}`,
          isObject(operation) ? marked(exampleBodyOf(operation)) : undefined,
        ];
      }),
    );
  }

  function exampleBodyOf(operation: Record<string, unknown>): unknown {
    const body = operation['requestBody'];
    const content =
      isObject(body) && isObject(body['content']) ? body['content']['application/json'] : undefined;
    return isObject(content) ? content['example'] : undefined;
  }

  function marked(body: unknown): unknown {
    if (!isObject(body)) return body;
    const extra = { password: MARK, access_token: MARK, client_secret: MARK };
    const known = Object.entries(body).map(([name, value]) => [
      name,
      typeof value === 'string' && SECRET_NAME.test(name) ? MARK : value,
    ]);
    return { ...Object.fromEntries(known), ...extra };
  }
});

describe('what every answer says about itself', function () {
  this.timeout(20_000);

  it('is the same for good ones and refusals: nothing may be sniffed, framed, cached or referred', async () => {
    await withApi({}, async api => {
      for (const route of [
        'GET //healthz',
        'GET /servers',
        'GET //nowhere',
        'POST /auth/login',
        'OPTIONS /servers',
      ]) {
        const { headers } = await api.send(route);
        expect(headers.get('x-content-type-options'), route).to.equal('nosniff');
        expect(headers.get('x-frame-options'), route).to.equal('SAMEORIGIN');
        expect(headers.get('referrer-policy'), route).to.equal('no-referrer');
        expect(headers.get('strict-transport-security'), route).to.match(/max-age=\d{7,}/);
        expect(headers.get('content-security-policy'), route).to.include("default-src 'none'");
        expect(headers.has('server') || headers.has('x-powered-by'), route).to.equal(false);
      }
    });
  });

  it('is, for HEAD, what GET says, on every route', async () => {
    await withApi({}, async api => {
      const { send } = await api.signUp({ role: 'admin' });
      const fixed = ROUTES.filter(
        ({ method, path }) => method === 'GET' && !path.includes(':') && path !== '/metrics',
      );
      for (const { path } of fixed) {
        const [get, head] = [await send(`GET /${path}`), await send(`HEAD /${path}`)];
        expect([codeOf(head), head.body], path).to.deep.equal([String(get.status), '']);
        expect(head.headers.get('content-type'), path).to.equal(get.headers.get('content-type'));
      }
    });
  });
});
