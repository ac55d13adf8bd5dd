import { expect } from 'chai';
import { request } from 'node:http';
import type { Bus } from '#src/bus/bus.js';
import { createBus } from '#src/bus/createBus.js';
import { storeConsole } from '#src/db/consoleStorage.js';
import { AppError } from '#src/domain/errors.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { buildOperation, buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { appendTo } from '#test/harness/operationEvents.js';
import { connectRaw, isFrame, type Frame, type RawSocket } from '#test/harness/rawSocket.js';
import { silent, startRealtimeServer, type RealtimeServer } from '#test/harness/realtimeServer.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('the raw WebSocket', function () {
  this.timeout(30_000);
  let database: TestDatabase;
  let bus: Bus;
  let api: RealtimeServer;
  const commands: unknown[] = [];
  const clients: RawSocket[] = [];

  before(async () => {
    database = await createTestDatabase();
    bus = createBus({ redisUrl: undefined, logger: silent });
    api = await startRealtimeServer({
      db: database.db,
      bus,
      pingMs: 200,
      sendCommand: async (_user, serverId, command) => {
        if (command === 'refused') throw new AppError('console-busy');
        commands.push([serverId, command]);
        return {};
      },
    });
  });
  afterEach(() => clients.splice(0).forEach(({ socket }) => socket.terminate()));
  after(async () => {
    await api.close();
    await database.drop();
  });

  async function connect(token: string): Promise<RawSocket> {
    const client = await connectRaw(api.url, { token });
    clients.push(client);
    return client;
  }

  async function stage() {
    const owner = await buildUser(database.db);
    const server = await buildServer(database.db, { user_id: owner.id });
    const operation = await buildOperation(database.db, { server_id: server.id, state: 'running' });
    const token = api.signIn(owner);
    return { owner, server, operation, token, client: await connect(token) };
  }

  let printed = 0;
  async function print(serverId: string, lines: string[]): Promise<void> {
    const result = await storeConsole(database.db, {
      server_id: serverId,
      run_id: `run-${printed++}`,
      from: 0,
      to: 100,
      at_ms: Date.now(),
      entries: joinEntries(lines),
    });
    if (result.outcome !== 'stored' || result.head === null) throw new Error('nothing was stored');
    bus.publish('console', { server_id: serverId, head: result.head });
  }

  const arrived = (client: RawSocket, type: string, n = 1) =>
    waitFor(() => client.frames.filter(frame => frame['type'] === type).length >= n, {
      what: `${n} ${type}`,
    });
  const dataOf = (frame: Frame | undefined): Frame => {
    const data = frame?.['data'];
    return isFrame(data) ? data : {};
  };

  describe('lets in', () => {
    it('a token in the query or in the header, and nobody else', async () => {
      const token = api.signIn(await buildUser(database.db));
      clients.push(await connectRaw(api.url, { token }));
      clients.push(await connectRaw(api.url, { header: `Bearer ${token}` }));
      for (const bad of [{}, { token: 'made-up' }, { header: 'Bearer made-up' }, { header: 'Basic eDp5' }]) {
        const refused = await connectRaw(api.url, bad).catch((error: Error) => error.message);
        expect(refused).to.equal('Unexpected server response: 401');
      }
    });

    it('answers a refusal as a problem, before the upgrade', async () => {
      const asking = request(`${api.url}/api/v1/ws?token=made-up`, {
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        },
      });
      asking.end();
      const [status, headers, body] = await new Promise<[unknown, NodeJS.Dict<string | string[]>, string]>(
        (resolve, reject) => {
          asking.once('error', reject);
          asking.once('response', response => {
            let text = '';
            response.on('data', piece => (text += String(piece)));
            response.once('end', () => resolve([response.statusCode, response.headers, text]));
          });
        },
      );
      expect(status).to.equal(401);
      expect(headers['www-authenticate']).to.equal('Bearer realm="aymc", error="invalid_token"');
      expect(headers['content-type']).to.equal('application/problem+json');
      expect(JSON.parse(body)).to.include({ code: 'unauthenticated', status: 401 });
    });
  });

  describe('speaks the messages of the hub', () => {
    it('says what was subscribed and denied, then the backlog, then what happens', async () => {
      const { client, server, operation } = await stage();
      const channel = `server:${server.id}:status`;
      client.send({ type: 'subscribe', channels: [channel, 'server:nonsense'] });
      await arrived(client, 'server_status');
      expect(client.frames.map(frame => frame['type'])).to.deep.equal(['subscribed', 'server_status']);
      expect(dataOf(client.frames[0])).to.deep.equal({
        subscribed: [channel],
        denied: [{ channel: 'server:nonsense', code: 'not-found' }],
      });
      const change = { status: 'starting', previous_status: 'stopped' } as const;
      await appendTo(database.db, { operation, type: 'status_changed', data: change }, bus);
      await arrived(client, 'server_status', 2);
      expect(client.frames.at(-1)).to.include({ channel });
      expect(dataOf(client.frames.at(-1))).to.include({ status: 'starting' });
    });

    it('goes on from a cursor, with nothing lost and nothing repeated', async () => {
      const { client, server, token } = await stage();
      const channel = `server:${server.id}:logs`;
      client.send({ type: 'subscribe', channels: [channel] });
      await arrived(client, 'subscribed');
      await print(server.id, ['one', 'two']);
      await arrived(client, 'log_entry', 2);
      client.socket.terminate();
      await print(server.id, ['three']);
      const again = await connect(token);
      const after = { [channel]: client.frames.at(-1)?.['cursor'] };
      again.send({ type: 'subscribe', channels: [channel], after });
      await arrived(again, 'log_entry');
      await print(server.id, ['four']);
      await arrived(again, 'log_entry', 2);
      const lines = again.frames
        .filter(frame => frame['type'] === 'log_entry')
        .map(frame => dataOf(frame)['message']);
      expect(lines).to.deep.equal(['three', 'four']);
    });

    it('stops with an unsubscribe', async () => {
      const { client, server } = await stage();
      const channels = [`server:${server.id}:logs`];
      client.send({ type: 'subscribe', channels });
      client.send({ type: 'unsubscribe', channels });
      // Answered in turn: once this one is, the others are through.
      client.send({ type: 'subscribe', channels: ['user:notifications'] });
      await arrived(client, 'subscribed', 2);
      await print(server.id, ['unheard']);
      client.send({ type: 'ping' });
      await arrived(client, 'pong');
      expect(client.frames.map(frame => frame['type'])).to.deep.equal(['subscribed', 'subscribed', 'pong']);
    });

    it('sends commands, and tells of those that did not go through', async () => {
      const { client, server } = await stage();
      client.send({ type: 'command', server_id: server.id, command: 'say hello' });
      client.send({ type: 'command', server_id: server.id, command: 'refused' });
      await arrived(client, 'error');
      expect(commands).to.deep.include([server.id, 'say hello']);
      expect(client.frames.map(frame => dataOf(frame)['code'])).to.deep.equal(['console-busy']);
    });

    it('answers what is no request with an error, and goes on', async () => {
      const { client } = await stage();
      for (const text of ['', '[]', '"text"', 'null', '{', '{"type":"sing"}', '{"type":"subscribe"}']) {
        client.socket.send(text);
      }
      client.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
      client.send({ type: 'ping' });
      await arrived(client, 'pong');
      await arrived(client, 'error', 8);
      const codes = client.frames
        .filter(frame => frame['type'] === 'error')
        .map(frame => dataOf(frame)['code']);
      expect(new Set(codes)).to.deep.equal(new Set(['invalid-request']));
    });

    it('ends a connection that says too much at once, and one whose token ends', async () => {
      const { client, owner } = await stage();
      client.send({ type: 'ping', padding: 'x'.repeat(70_000) });
      expect((await client.closed).code).to.equal(1009);
      const brief = await connect(api.signIn(owner, new Date(Date.now() + 300)));
      expect(await brief.closed).to.deep.equal({ code: 1008, reason: 'token-expired' });
    });

    it('cuts who does not answer pings, and nobody else', async () => {
      const { client, token } = await stage();
      const deaf = await connect(token);
      deaf.socket.pause();
      await waitFor(() => api.hub.stats.clients === 1, { what: 'the deaf one to be gone' });
      client.send({ type: 'ping' });
      await arrived(client, 'pong');
    });

    it('keeps its order for a slow reader, and holds back what it can fetch later', async () => {
      const { client, server, token } = await stage();
      const slow = await connect(token);
      const channel = `server:${server.id}:logs`;
      for (const each of [client, slow]) each.send({ type: 'subscribe', channels: [channel] });
      await Promise.all([client, slow].map(each => arrived(each, 'subscribed')));
      const lines = Array.from({ length: 2_000 }, (_, n) => `${n} ${'x'.repeat(500)}`);
      await print(server.id, lines);
      await arrived(client, 'log_entry', lines.length);
      await arrived(slow, 'log_entry', lines.length);
      const heard = slow.frames.slice(1).map(frame => Number(String(dataOf(frame)['message']).split(' ')[0]));
      expect(heard).to.deep.equal(lines.map((_, n) => n));
    });
  });

  describe('speaks the flat dialect of existing desktop clients', () => {
    it('gives a server’s console and status in flat frames and no others', async () => {
      const { client, server, operation } = await stage();
      client.send({ action: 'subscribe', server_id: server.id });
      await arrived(client, 'status');
      await print(server.id, ['[10:00:00 WARN]: careful', 'java.lang.Error: x', '\tat a.B.c(B.java:1)']);
      const change = { status: 'error', previous_status: 'stopped' } as const;
      await appendTo(database.db, { operation, type: 'status_changed', data: change }, bus);
      await arrived(client, 'log');
      await arrived(client, 'status', 2);
      const texts = client.frames.map(({ type, message, level }) => [type, message, level]);
      expect(texts.slice(0, 2)).to.deep.equal([
        ['info', 'Subscribed', 'info'],
        ['status', 'stopped', 'info'],
      ]);
      expect(texts).to.deep.include(['status', 'error', 'error']);
      expect(texts.find(([type]) => type === 'log')).to.deep.equal([
        'log',
        'careful\njava.lang.Error: x\n\tat a.B.c(B.java:1)',
        'warn',
      ]);
      for (const frame of client.frames) {
        expect(Object.keys(frame)).to.deep.equal(['type', 'server_id', 'timestamp', 'message', 'level']);
        expect(frame['server_id']).to.equal(server.id);
        expect(String(frame['timestamp'])).to.match(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
      }
    });

    it('sends commands and stops', async () => {
      const { client, server } = await stage();
      client.send({ action: 'command', server_id: server.id, command: 'list' });
      await arrived(client, 'info');
      expect(commands).to.deep.include([server.id, 'list']);
      client.send({ action: 'unsubscribe', server_id: server.id });
      await arrived(client, 'info', 2);
      client.send({ action: 'command', server_id: server.id, command: 'refused' });
      client.send({ action: 'dance', server_id: server.id });
      client.send({ action: 'command' });
      await arrived(client, 'error', 3);
    });

    it('tells neither of other people’s servers nor of consoles that are not shared', async () => {
      const { client, owner, token } = await stage();
      const other = await buildServer(database.db, {});
      client.send({ action: 'subscribe', server_id: other.id });
      await arrived(client, 'error');
      expect(client.frames[0]).to.include({ message: 'There is no such server', level: 'error' });
      await database.db.models.ServerMember.create({
        server_id: other.id,
        user_id: owner.id,
        permissions: [],
      });
      const again = await connect(token);
      again.send({ action: 'subscribe', server_id: other.id });
      await arrived(again, 'status');
      expect(again.frames[0]).to.include({ type: 'error', message: 'Not allowed: logs' });
    });
  });
});
