import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { expect } from 'chai';
import { createWebhookActivities } from '#activities/webhook.js';
import { freePort } from '#processes/dev/ports.js';
import { raiseAlert } from '#src/db/alerts.js';
import { row, rows } from '#src/db/sql.js';
import type { ServerRow, WebhookRow } from '#src/db/types.js';
import { WEBHOOK_FAILURES_MAX } from '#src/domain/webhook.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { postJson } from '#src/webhooks/post.js';
import { buildServer, buildUser } from '#test/build.js';
import { startHookServer, type HookServer } from '#test/harness/hookServer.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { startTestStack, type TestStack } from '#test/harness/stack.js';
import { waitFor } from '#test/harness/waitFor.js';

const SECRET = 'a secret that both ends know';

describe('webhooks', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let hooks: HookServer;
  before(async () => {
    stack = await startTestStack({ RECONCILE_INTERVAL: '1h', HEALTH_INTERVAL: '1h' });
    hooks = await startHookServer((response, { path, body }, nth) => {
      const isFirst = nth === hooks.calls.findIndex(call => call.body === body) + 1;
      if (path === '/fails-once' && isFirst) response.writeHead(500).end();
      else if (path === '/moved') response.writeHead(302, { Location: '/elsewhere' }).end();
      else response.writeHead(204).end();
    });
  });
  after(async () => {
    await stack.stop();
    await hooks.close();
  });

  async function build(url: string, facts: Partial<WebhookRow> = {}) {
    const user = await buildUser(stack.db);
    const server = await buildServer(stack.db, { user_id: user.id });
    const secret = sealSecret(deriveSecretKey(stack.core.jwtSecret), SECRET);
    const webhook = await stack.db.models.Webhook.create({ user_id: user.id, url, secret, ...facts });
    return { server, id: webhook.id };
  }
  let occasions = 0;
  const raise = (server: Pick<ServerRow, 'id'>, code: 'crash' | 'server-hung' = 'crash') =>
    raiseAlert(stack.db, {
      code,
      server_id: server.id,
      severity: 'warning',
      title: `@everyone look at ${server.id}`,
      body: 'It ended',
      data: { crashes: 1 },
      occasion: String((occasions += 1)),
    });
  const find = (id: string) =>
    row<WebhookRow>(stack.db, 'SELECT * FROM webhooks WHERE id = $1', { bind: [id] });
  const waiting = (id: string) =>
    rows<{ id: string }>(stack.db, 'SELECT id FROM deliveries WHERE webhook_id = $1', { bind: [id] });
  const callsFor = ({ id }: { id: string }) => hooks.calls.filter(({ body }) => body.includes(id));
  const isDone = (id: string) =>
    waitFor(async () => (await waiting(id)).length === 0, {
      timeoutMs: 30_000,
      what: 'the end of its deliveries',
    });

  it('are called with a signed body, which whoever has the secret can check', async () => {
    const { server, id } = await build(`${hooks.url}/plain`);
    await raise(server);
    await isDone(id);
    const [call, ...more] = callsFor(server);
    expect(more).to.deep.equal([]);
    if (!call) throw new Error('it was not called');
    const { headers, body } = call;
    const mac = createHmac('sha256', SECRET)
      .update(`${String(headers['x-aymc-timestamp'])}.${body}`)
      .digest('hex');
    expect(headers).to.include({ 'x-aymc-signature': `sha256=${mac}`, 'x-aymc-event': 'crash' });
    const sent: unknown = JSON.parse(body);
    expect(sent).to.include({ id: headers['x-aymc-delivery'], event: 'crash' });
    expect(sent).to.have.nested.include({
      'notification.severity': 'warning',
      'notification.server_id': server.id,
      'notification.data.code': 'crash',
    });
    expect(await find(id)).to.include({ last_status: 204, last_error: null, failures: 0 });
  });

  it('are called again until they take it, with the same delivery id', async () => {
    const { server, id } = await build(`${hooks.url}/fails-once`);
    await raise(server);
    await isDone(id);
    const calls = callsFor(server);
    expect(calls).to.have.length(2);
    expect(new Set(calls.map(({ headers }) => headers['x-aymc-delivery'])).size).to.equal(1);
    expect(await find(id)).to.include({ last_status: 204, failures: 0, is_active: true });
  });

  it('get what they asked for, in Discord’s words where they want those, and mention nobody', async () => {
    const { server, id } = await build(`${hooks.url}/discord`, {
      format: 'discord',
      events: ['server-hung'],
    });
    await raise(server, 'crash');
    await raise(server, 'server-hung');
    await isDone(id);
    const calls = callsFor(server);
    expect(calls.map(({ headers }) => headers['x-aymc-event'])).to.deep.equal(['server-hung']);
    const sent: unknown = JSON.parse(calls[0]?.body ?? '');
    expect(sent).to.have.keys(['content', 'embeds', 'allowed_mentions']);
    expect(sent).to.deep.include({ allowed_mentions: { parse: [] } });
    expect(sent).to.have.nested.include({ 'embeds[0].description': 'It ended' });
  });

  it('follow no redirect', async () => {
    const { server, id } = await build(`${hooks.url}/moved`);
    await raise(server);
    await waitFor(async () => (await find(id))?.last_status === 302, {
      timeoutMs: 30_000,
      what: 'the attempt',
    });
    expect(await find(id)).to.include({ last_error: 'webhook-failed' });
    expect(callsFor(server).map(({ path }) => path)).to.not.include('/elsewhere');
    await stack.db.models.Webhook.destroy({ where: { id } });
    expect(await waiting(id)).to.deep.equal([]);
  });

  it('are switched off when delivery after delivery was given up', async () => {
    const { server, id } = await build('ftp://127.0.0.1/no-such-scheme');
    for (let n = 1; n <= WEBHOOK_FAILURES_MAX; n++) {
      expect(await find(id)).to.include({ failures: n - 1, is_active: true });
      await raise(server);
      await isDone(id);
    }
    expect(await find(id)).to.include({
      failures: WEBHOOK_FAILURES_MAX,
      is_active: false,
      last_status: null,
      last_error: 'invalid-request',
    });
    await raise(server);
    expect(await waiting(id)).to.deep.equal([]);
  });

  it('leave nothing but ids in a history', async () => {
    const { server, id } = await build(`${hooks.url}/quiet`);
    await raise(server);
    const [delivery] = await waiting(id);
    await isDone(id);
    const handle = stack.temporal.workflow.getHandle(`webhook:${delivery?.id}`);
    await handle.result();
    const history = JSON.stringify(await handle.fetchHistory());
    for (const secret of [hooks.url, SECRET, server.id, 'everyone']) {
      expect(history).to.not.include(secret);
      expect(history).to.not.include(Buffer.from(secret).toString('base64').slice(0, -4));
    }
  });

  it('are called for a day at most: Temporal keeps that time', async () => {
    const { server, id } = await build(`${hooks.url}/quiet`);
    await raise(server);
    const [delivery] = await waiting(id);
    await isDone(id);
    const { events } = await stack.temporal.workflow.getHandle(`webhook:${delivery?.id}`).fetchHistory();
    const limits = events?.flatMap(
      event => event.activityTaskScheduledEventAttributes?.scheduleToCloseTimeout?.seconds ?? [],
    );
    expect(limits?.map(Number)).to.deep.equal([86_400]);
  });

  it('lead into no private network, by address or by name, also where the row says so', async () => {
    const { openToken } = stack.core;
    const attempt = async (url: string, addresses: string[]) => {
      const { id } = await build(url, { is_active: true });
      const made = await stack.db.models.Delivery.create({ webhook_id: id, dispatch_after: null });
      const urls = { allowPrivate: false, resolve: () => Promise.resolve(addresses) };
      const { callWebhook } = createWebhookActivities({ db: stack.db, openToken, urls });
      return rejectionCode(callWebhook({ deliveryId: made.id }));
    };
    const before = hooks.calls.length;
    expect(await attempt(`https://127.0.0.1:${hooks.port}/`, [])).to.equal('private-address');
    expect(await attempt('https://[::ffff:a00:1]/', [])).to.equal('private-address');
    expect(await attempt('https://hooks.example.test/', ['10.0.0.1'])).to.equal('private-address');
    expect(await attempt('https://hooks.example.test/', ['1.1.1.1', '169.254.169.254'])).to.equal(
      'private-address',
    );
    expect(await attempt(`${hooks.url}/`, [])).to.equal('invalid-request');
    expect(hooks.calls.length).to.equal(before);
  });
});

describe('a post to a user’s URL', () => {
  it('goes to the address that was looked at, and resolves its name once', async () => {
    const hooks = await startHookServer();
    let lookups = 0;
    const resolve = () => {
      lookups += 1;
      return Promise.resolve(lookups === 1 ? ['127.0.0.1'] : ['10.255.255.1']);
    };
    try {
      const url = `http://hooks.example.test:${hooks.port}/x?y=1`;
      expect(await postJson(url, '{}', {}, { allowPrivate: true, resolve })).to.equal(204);
      expect(lookups).to.equal(1);
      expect(hooks.calls[0]?.path).to.equal('/x?y=1');
      expect(hooks.calls[0]?.headers.host).to.equal(`hooks.example.test:${hooks.port}`);
    } finally {
      await hooks.close();
    }
  });

  it('reads nothing of the answer but its status', async () => {
    let closed = false;
    const hooks = await startHookServer(response => {
      response.writeHead(200);
      const writing = setInterval(() => response.write('x'.repeat(64 * 1024)), 1);
      response.once('close', () => {
        clearInterval(writing);
        closed = true;
      });
    });
    try {
      expect(await postJson(`${hooks.url}/`, '{}', {}, { allowPrivate: true })).to.equal(200);
      await waitFor(() => closed, { what: 'the end of the connection' });
    } finally {
      await hooks.close();
    }
  });

  it('gives up on one that takes the call and never answers', async () => {
    const sockets: Socket[] = [];
    const silent = createServer(socket => sockets.push(socket));
    const port = await freePort();
    await once(silent.listen(port, '127.0.0.1'), 'listening');
    try {
      const call = postJson(`http://127.0.0.1:${port}/`, '{}', {}, { allowPrivate: true }, 200);
      expect(await rejectionCode(call)).to.equal('webhook-failed');
      expect(sockets).to.have.length(1);
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });

  it('fails when nobody listens, or its host has no address', async () => {
    const hooks = await startHookServer();
    await hooks.close();
    const rule = { allowPrivate: true, resolve: () => Promise.resolve([]) };
    expect(await rejectionCode(postJson(`${hooks.url}/`, '{}', {}, rule))).to.equal('webhook-failed');
    expect(await rejectionCode(postJson('http://nowhere.test/', '{}', {}, rule))).to.equal('webhook-failed');
  });
});
