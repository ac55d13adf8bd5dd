import { expect } from 'chai';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import { encodeCursor } from '#src/contracts/cursor.js';
import type { Message } from '#src/contracts/events.js';
import { raiseAlert } from '#src/db/alerts.js';
import { readLogs, storeConsole } from '#src/db/consoleStorage.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { buildAgent, buildOperation, buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { appendTo } from '#test/harness/operationEvents.js';
import { silent, startRealtimeServer, type RealtimeServer } from '#test/harness/realtimeServer.js';
import {
  agentData,
  connectSocket,
  notificationData,
  operationData,
  statusData,
  type SocketClient,
} from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('realtime channels', function () {
  this.timeout(30_000);
  let database: TestDatabase;
  let bus: Bus;
  let api: RealtimeServer;
  const clients: SocketClient[] = [];

  before(async () => {
    database = await createTestDatabase();
    bus = createBus({ redisUrl: undefined, logger: silent });
    api = await startRealtimeServer({
      db: database.db,
      bus,
    });
  });
  afterEach(() => clients.splice(0).forEach(client => client.close()));
  after(async () => {
    await api.close();
    await database.drop();
  });

  async function connect(token: string, options: { transports?: ('polling' | 'websocket')[] } = {}) {
    const client = await connectSocket(api.url, { token, ...options });
    clients.push(client);
    return client;
  }

  /** A server with a running operation, and a client of its owner's. */
  async function stage() {
    const owner = await buildUser(database.db);
    const server = await buildServer(database.db, { user_id: owner.id });
    const operation = await buildOperation(database.db, { server_id: server.id, state: 'running' });
    const token = api.signIn(owner);
    return { owner, server, operation, token, client: await connect(token) };
  }

  const seqs = (messages: readonly Message[]) => operationData(messages).map(({ event }) => event.seq);

  describe('server:<id>:status', () => {
    it('shows a newcomer the present status, also of a server that never changed its own', async () => {
      const { client, server } = await stage();
      const { backlog } = await client.subscribe([`server:${server.id}:status`]);
      expect(backlog.map(({ type, data }) => ({ type, data }))).to.deep.equal([
        { type: 'server_status', data: { server_id: server.id, status: 'stopped', previous_status: null } },
      ]);
    });

    it('says what changed the present status, and then every change', async () => {
      const { client, server, operation } = await stage();
      const change = (previous_status: 'stopped' | 'starting', status: 'starting' | 'running') =>
        appendTo(database.db, { operation, type: 'status_changed', data: { status, previous_status } }, bus);
      await change('stopped', 'starting');
      await appendTo(database.db, { operation }, bus);
      const { backlog } = await client.subscribe([`server:${server.id}:status`]);
      expect(backlog.map(({ data }) => data)).to.deep.equal([
        { server_id: server.id, status: 'starting', previous_status: 'stopped', operation_id: operation.id },
      ]);
      await change('starting', 'running');
      await waitFor(() => client.messages.length === 2, { what: 'the change' });
      expect(statusData(client.messages).at(-1)).to.include({
        status: 'running',
        previous_status: 'starting',
      });
    });

    it('goes on from a cursor without telling the present status again', async () => {
      const { client, server, operation, token } = await stage();
      const channel = `server:${server.id}:status`;
      await client.subscribe([channel]);
      client.cut();
      await appendTo(
        database.db,
        { operation, type: 'status_changed', data: { status: 'starting', previous_status: 'stopped' } },
        bus,
      );
      const again = await connect(token);
      const { backlog } = await again.subscribe([channel], Object.fromEntries(client.cursors));
      expect(statusData(backlog).map(({ status }) => status)).to.deep.equal(['starting']);
      const third = await connect(token);
      const quiet = await third.subscribe([channel], Object.fromEntries(again.cursors));
      expect(quiet.backlog).to.be.empty;
    });
  });

  describe('server:<id>:operations', () => {
    it('shows a newcomer where each unfinished operation stands, then all events of all of them', async () => {
      const { client, server, operation } = await stage();
      const queued = await buildOperation(database.db, { server_id: server.id, kind: 'server.stop' });
      const done = await buildOperation(database.db, { server_id: server.id, state: 'succeeded' });
      for (const each of [done, done, operation, operation, queued])
        await appendTo(database.db, { operation: each });
      const { backlog } = await client.subscribe([`server:${server.id}:operations`]);
      const seen = operationData(backlog).map(({ operation: { id }, event }) => [id, event.seq]);
      expect(seen).to.deep.equal([
        [operation.id, 2],
        [queued.id, 1],
      ]);
      await appendTo(database.db, { operation: queued, type: 'started' }, bus);
      await waitFor(() => client.messages.length === 3, { what: 'the live event' });
      const last = operationData(client.messages).at(-1);
      expect(last?.operation).to.include({ id: queued.id, kind: 'server.stop' });
      expect(last?.event).to.include({ type: 'started', seq: 2, server_seq: 6 });
    });

    it('gives a cursor even where nothing is going on, so that a reconnect misses no short operation', async () => {
      const { client, server, operation, token } = await stage();
      const channel = `server:${server.id}:operations`;
      await appendTo(database.db, { operation, type: 'succeeded' });
      await operation.update({ state: 'succeeded' });
      await client.subscribe([channel]);
      client.cut();
      const short = await buildOperation(database.db, { server_id: server.id, state: 'succeeded' });
      for (const type of ['accepted', 'started', 'succeeded'] as const) {
        await appendTo(database.db, { operation: short, type }, bus);
      }
      const again = await connect(token);
      const { backlog } = await again.subscribe([channel], Object.fromEntries(client.cursors));
      expect(operationData(backlog).map(({ event }) => event.type)).to.deep.equal([
        'accepted',
        'started',
        'succeeded',
      ]);
    });
  });

  describe('operation:<id>', () => {
    it('tells the whole story from its beginning, and goes on live', async () => {
      const { client, operation } = await stage();
      for (let n = 0; n < 3; n++) await appendTo(database.db, { operation });
      await client.subscribe([`operation:${operation.id}`]);
      await appendTo(database.db, { operation, type: 'succeeded' }, bus);
      await waitFor(() => client.messages.length === 4, { what: 'the end' });
      expect(seqs(client.messages)).to.deep.equal([1, 2, 3, 4]);
    });

    it('sends what is too long for the answer as messages after it, in order', async () => {
      const { client, operation } = await stage();
      for (let n = 0; n < 450; n++) await appendTo(database.db, { operation });
      const { backlog } = await client.subscribe([`operation:${operation.id}`]);
      expect(backlog).to.have.length(200);
      await waitFor(() => client.messages.length === 450, { what: 'the rest' });
      expect(seqs(client.messages)).to.deep.equal(Array.from({ length: 450 }, (_, i) => i + 1));
    });

    it('is watched by whoever asked for it after its server is gone, and by nobody else', async () => {
      const { client, server, operation } = await stage();
      await appendTo(database.db, { operation, type: 'succeeded' });
      await server.destroy();
      expect((await client.subscribe([`operation:${operation.id}`])).backlog).to.have.length(1);
      const stranger = await connect(api.signIn(await buildUser(database.db)));
      const answer = await stranger.subscribe([`operation:${operation.id}`]);
      expect(answer.denied).to.deep.equal([{ channel: `operation:${operation.id}`, code: 'not-found' }]);
    });
  });

  describe('server:<id>:logs', () => {
    /** As the collector does: stored first, then announced. */
    async function print(serverId: string, from: number, numbers: readonly number[]) {
      const entries = joinEntries(numbers.map(n => `[12:00:00] [main/INFO]: line ${n}`));
      const piece = {
        server_id: serverId,
        run_id: 'r',
        from,
        to: from + numbers.length,
        at_ms: Date.now(),
        entries,
      };
      const stored = await storeConsole(database.db, piece);
      if (stored.outcome !== 'stored' || stored.head === null) throw new Error('nothing was stored');
      bus.publish('console', { server_id: serverId, head: stored.head });
    }
    const textOf = ({ data }: Message) =>
      typeof data === 'object' && data !== null && 'message' in data ? data.message : undefined;

    it('brings lines of that server as they are stored, as rows of its log', async () => {
      const { client, server } = await stage();
      await client.subscribe([`server:${server.id}:logs`]);
      await print(server.id, 0, [1, 2]);
      await waitFor(() => client.messages.length === 2, { what: 'both lines' });
      const { cursor, timestamp, data, ...rest } = client.messages[0] ?? {};
      expect(rest).to.deep.equal({ type: 'log_entry', channel: `server:${server.id}:logs` });
      expect(data).to.include({ cursor, timestamp, level: 'INFO', source: 'main', message: 'line 1' });
    });

    it('joins what storage has with what comes meanwhile: no line missing, none twice', async () => {
      const { client, server } = await stage();
      await print(server.id, 0, [1, 2, 3, 4]);
      const [first] = await readLogs(database.db, server.id, { limit: 4 });
      const channel = `server:${server.id}:logs`;
      const subscribed = client.subscribe([channel], { [channel]: encodeCursor(first?.place ?? 0) });
      // Some of these come before the backlog is read, some meanwhile, some after.
      for (let n = 5; n <= 60; n++) await print(server.id, n - 1, [n]);
      const { backlog } = await subscribed;
      await waitFor(() => client.messages.some(message => textOf(message) === 'line 60'), {
        what: 'the last line',
      });
      const seen = [...new Set([...backlog, ...client.messages])].map(textOf);
      expect([...new Set(seen)]).to.deep.equal(Array.from({ length: 59 }, (_, i) => `line ${i + 2}`));
    });
  });

  describe('agents', () => {
    it('shows admins every agent and then each change once; nobody else may watch', async () => {
      const admin = await buildUser(database.db, { role: 'admin' });
      const agent = await buildAgent(database.db);
      const client = await connect(api.signIn(admin));
      const { backlog } = await client.subscribe(['agents']);
      expect(agentData(backlog).map(({ id }) => id)).to.include(agent.id);
      await agent.update({ status: 'offline' });
      bus.publish('agent-status', { agent_id: agent.id });
      bus.publish('agent-status', { agent_id: agent.id });
      await waitFor(() => client.messages.length > backlog.length, { what: 'the change' });
      await agent.update({ status: 'online' });
      bus.publish('agent-status', { agent_id: agent.id });
      await waitFor(() => client.messages.length > backlog.length + 1, { what: 'the second change' });
      const changes = agentData(client.messages.slice(backlog.length));
      expect(changes.map(({ id, status }) => [id, status])).to.deep.equal([
        [agent.id, 'offline'],
        [agent.id, 'online'],
      ]);

      const user = await connect(api.signIn(await buildUser(database.db)));
      const answer = await user.subscribe(['agents']);
      expect(answer.denied).to.deep.equal([{ channel: 'agents', code: 'forbidden' }]);
    });
  });

  describe('user:notifications', () => {
    const channel = 'user:notifications';

    async function raise(server: { id: string }, occasion: string): Promise<void> {
      const told = await raiseAlert(database.db, {
        code: 'crash',
        server_id: server.id,
        severity: 'warning',
        title: `crash ${occasion}`,
        body: 'It ran out of memory',
        data: { crashes: 1 },
        occasion,
      });
      for (const user_id of told) bus.publish('notifications', { user_id });
    }
    const titles = (messages: readonly Message[]) => notificationData(messages).map(({ title }) => title);

    it('shows a newcomer what they have not read, then what they are told', async () => {
      const { client, server, owner } = await stage();
      await raise(server, '1');
      await raise(server, '2');
      await database.db.models.Notification.update(
        { read_at: new Date() },
        { where: { user_id: owner.id, title: 'crash 1' } },
      );
      const { backlog } = await client.subscribe([channel]);
      expect(titles(backlog)).to.deep.equal(['crash 2']);
      await raise(server, '3');
      await waitFor(() => client.messages.length === 2, { what: 'the live alert' });
      const [, live] = client.messages;
      expect(live).to.include({ type: 'alert', channel });
      expect(notificationData(client.messages)[1]).to.deep.include({
        type: 'alert',
        severity: 'warning',
        title: 'crash 3',
        body: 'It ran out of memory',
        data: { code: 'crash', crashes: 1 },
        server_id: server.id,
        read_at: null,
      });
    });

    it('shows at most twenty, the newest of them', async () => {
      const { client, server } = await stage();
      for (let n = 1; n <= 22; n++) await raise(server, String(n));
      const { backlog } = await client.subscribe([channel]);
      expect(titles(backlog)).to.deep.equal(Array.from({ length: 20 }, (_, n) => `crash ${n + 3}`));
    });

    it('goes on from a cursor, with what was read meanwhile too', async () => {
      const { client, server, owner, token } = await stage();
      await raise(server, '1');
      await client.subscribe([channel]);
      client.cut();
      await raise(server, '2');
      await raise(server, '3');
      await database.db.models.Notification.update({ read_at: new Date() }, { where: { user_id: owner.id } });
      const again = await connect(token);
      const { backlog } = await again.subscribe([channel], Object.fromEntries(client.cursors));
      expect(titles(backlog)).to.deep.equal(['crash 2', 'crash 3']);
    });

    it('is each user’s own, though all call it by one name', async () => {
      const one = await stage();
      const other = await stage();
      await one.client.subscribe([channel]);
      await other.client.subscribe([channel]);
      await raise(one.server, '1');
      await raise(other.server, '2');
      await waitFor(() => one.client.messages.length + other.client.messages.length === 2, { what: 'both' });
      expect(titles(one.client.messages)).to.deep.equal(['crash 1']);
      expect(titles(other.client.messages)).to.deep.equal(['crash 2']);
    });

    it('is found by the poll when the poke was lost', async () => {
      const deaf = createBus({ redisUrl: undefined, logger: silent });
      const polling = await startRealtimeServer({ db: database.db, bus: deaf, pollMs: 50 });
      const { owner, server } = await stage();
      const client = await connectSocket(polling.url, { token: polling.signIn(owner) });
      clients.push(client);
      await client.subscribe([channel]);
      await raise(server, '1');
      await waitFor(() => client.messages.length === 1, { what: 'the alert' });
      client.close();
      await polling.close();
      await deaf.close();
    });
  });

  it('sends nothing more of a channel that was left, and keeps nothing for channels that nobody watches', async () => {
    const { client, server, operation } = await stage();
    const channels = [`operation:${operation.id}`, `server:${server.id}:operations`];
    await client.subscribe(channels);
    const left = await client.unsubscribe(channels.slice(0, 1));
    expect(left).to.deep.equal({ unsubscribed: channels.slice(0, 1) });
    await appendTo(database.db, { operation }, bus);
    await waitFor(() => client.messages.length === 1, { what: 'the event on the other channel' });
    expect(client.messages[0]?.channel).to.equal(channels[1]);
    client.close();
    await waitFor(() => api.hub.stats.feeds === 0, { what: 'the feeds to be gone' });
    expect(api.hub.stats).to.deep.equal({ clients: 0, subscriptions: 0, feeds: 0 });
  });

  it('works over long polling, for those behind a proxy that knows no websockets', async () => {
    const { token, operation } = await stage();
    const client = await connect(token, { transports: ['polling'] });
    await client.subscribe([`operation:${operation.id}`]);
    for (let n = 0; n < 20; n++) await appendTo(database.db, { operation }, bus);
    await waitFor(() => client.messages.length === 20, { what: 'all events' });
    expect(seqs(client.messages)).to.deep.equal(Array.from({ length: 20 }, (_, i) => i + 1));
  });
});
