import { expect } from 'chai';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Permission } from '#src/domain/permissions.js';
import type { Scope } from '#src/domain/scopes.js';
import { encodeCursor } from '#src/contracts/cursor.js';
import { buildOperation, buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { appendTo } from '#test/harness/operationEvents.js';
import { silent, startRealtimeServer, type RealtimeServer } from '#test/harness/realtimeServer.js';
import { connectSocket, type SocketClient } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';

const inAnHour = () => new Date(Date.now() + 3_600_000);

describe('who may do what over Socket.IO', function () {
  this.timeout(30_000);
  let database: TestDatabase;
  let db: Database;
  let bus: Bus;
  let api: RealtimeServer;
  const commands: unknown[] = [];
  const clients: SocketClient[] = [];

  before(async () => {
    database = await createTestDatabase();
    db = database.db;
    bus = createBus({ redisUrl: undefined, logger: silent });
    api = await startRealtimeServer({
      db,
      bus,
      recheckMs: 100,
      sendCommand: async (user, serverId, command) => {
        if (command === 'fail') throw new AppError('server-not-running');
        if (command === 'break') throw new TypeError('a bug with a secret in it');
        commands.push({ user: user.id, serverId, command });
        return { output: `did ${command}` };
      },
    });
  });
  afterEach(() => clients.splice(0).forEach(client => client.close()));
  after(async () => {
    await api.close();
    await database.drop();
  });

  async function connect(
    token: string,
    options: { headers?: Record<string, string>; reconnection?: boolean } = {},
  ) {
    const client = await connectSocket(api.url, { token, ...options });
    clients.push(client);
    return client;
  }

  async function member(serverId: string, permissions: Permission[]) {
    const user = await buildUser(db);
    await db.models.ServerMember.create({ server_id: serverId, user_id: user.id, permissions });
    return user;
  }

  describe('the handshake', () => {
    it('takes the token from auth or from the Authorization header', async () => {
      const token = api.signIn(await buildUser(db));
      await connect(token);
      await connect('', { headers: { authorization: `Bearer ${token}` } });
    });

    for (const [what, code, token] of [
      ['no token', 'unauthenticated', ''],
      ['an unknown token', 'unauthenticated', 'nonsense'],
      ['an expired token', 'token-expired', 'expired'],
    ] as const) {
      it(`refuses ${what} with the code ${code}`, async () => {
        api.tokens.set('expired', new AppError('token-expired'));
        const refusal: unknown = await connect(token).catch((error: unknown) => error);
        expect(refusal).to.be.instanceOf(Error).with.property('message', code);
        expect(refusal).to.have.nested.property('data.code', code);
      });
    }

    it('lets a client come again by itself when the sign-in failed for a reason of ours', async () => {
      const user = await buildUser(db);
      const token = api.signIn(user);
      const principal = api.tokens.get(token);
      api.tokens.set(token, new AppError('database-unavailable'));
      const before = api.lookups();
      const connecting = connect(token, { reconnection: true });
      await waitFor(() => api.lookups() > before, { what: 'the first attempt' });
      if (principal) api.tokens.set(token, principal);
      expect((await connecting).socket.connected).to.equal(true);
    });
  });

  describe('the end of a session', () => {
    it('closes the socket at the moment the token expires, and says so', async () => {
      const token = api.signIn(await buildUser(db), new Date(Date.now() + 400));
      // Not found out by the next look at the token, but by the clock.
      const client = await connect(token);
      await waitFor(() => client.socket.disconnected, { what: 'the disconnect', timeoutMs: 2_000 });
      expect(client.messages.at(-1)?.data).to.include({ code: 'token-expired' });
    });

    it('closes the socket when its session was ended elsewhere', async () => {
      const token = api.signIn(await buildUser(db));
      const client = await connect(token);
      api.tokens.set(token, new AppError('unauthenticated', { detail: 'The session has ended' }));
      await waitFor(() => client.socket.disconnected, { what: 'the disconnect' });
      expect(client.messages.at(-1)?.data).to.deep.equal({
        code: 'unauthenticated',
        detail: 'The session has ended',
      });
    });

    it('keeps everyone connected while sessions cannot be looked up', async () => {
      const owner = await buildUser(db);
      const server = await buildServer(db, { user_id: owner.id });
      const operation = await buildOperation(db, { server_id: server.id });
      const token = api.signIn(owner);
      const client = await connect(token);
      await client.subscribe([`operation:${operation.id}`]);
      api.tokens.set(token, new AppError('database-unavailable'));
      await api.hub.recheck(owner.id);
      await appendTo(db, { operation }, bus);
      await waitFor(() => client.messages.length === 1, { what: 'the event' });
    });
  });

  describe('channels', () => {
    it('does not tell what is hidden from what does not exist, and says forbidden for what is only not allowed', async () => {
      const server = await buildServer(db);
      const operation = await buildOperation(db, { server_id: server.id });
      const watcher = await connect(api.signIn(await member(server.id, [])));
      const stranger = await connect(api.signIn(await buildUser(db)));
      const channels = [
        `server:${server.id}:status`,
        `server:${server.id}:operations`,
        `server:${server.id}:logs`,
        `operation:${operation.id}`,
        `server:${crypto.randomUUID()}:status`,
        'server:all:status',
      ];
      const own = await watcher.subscribe(channels);
      expect(own.subscribed).to.have.members([channels[0], channels[1], channels[3]]);
      expect(own.denied).to.have.deep.members([
        { channel: channels[2], code: 'forbidden' },
        { channel: channels[4], code: 'not-found' },
        { channel: channels[5], code: 'not-found' },
      ]);
      const foreign = await stranger.subscribe(channels);
      expect(foreign.subscribed).to.be.empty;
      expect(foreign.denied.map(({ code }) => code)).to.deep.equal(channels.map(() => 'not-found'));
    });

    it('drops a channel with a message when its permission is taken away, and leaves the others', async () => {
      const server = await buildServer(db);
      const operation = await buildOperation(db, { server_id: server.id });
      const user = await member(server.id, ['console.read']);
      const client = await connect(api.signIn(user));
      await client.subscribe([`server:${server.id}:logs`, `operation:${operation.id}`]);

      const where = { server_id: server.id, user_id: user.id };
      await db.models.ServerMember.update({ permissions: [] }, { where });
      await api.hub.recheck(user.id);
      await waitFor(() => client.messages.length === 1, { what: 'the word about the logs' });
      expect(client.messages[0]).to.include({ type: 'error', channel: `server:${server.id}:logs` });
      expect(client.messages[0]?.data).to.include({ code: 'forbidden' });
      await appendTo(db, { operation }, bus);
      await waitFor(() => client.messages.length === 2, { what: 'the other channel to go on' });

      // This time nobody tells the hub: its own look finds out.
      await db.models.ServerMember.destroy({ where });
      await waitFor(() => client.messages.length === 3, { what: 'the word about the operation' });
      expect(client.messages[2]?.data).to.include({ code: 'not-found' });
      await appendTo(db, { operation }, bus);
      await client.subscribe(['user:notifications']);
      expect(client.messages).to.have.length(3);
    });

    it('drops it on an instance that only hears of the change, without waiting for its next look', async () => {
      const server = await buildServer(db);
      const user = await member(server.id, []);
      // Its next look is most of a minute away.
      const instance = await startRealtimeServer({ db, bus });
      const client = await connectSocket(instance.url, { token: instance.signIn(user) });
      clients.push(client);
      await client.subscribe([`server:${server.id}:operations`]);
      await db.models.ServerMember.destroy({ where: { user_id: user.id } });
      bus.publish('access-changed', { user_id: user.id });
      await waitFor(() => client.messages.length === 1, { what: 'the word' });
      expect(client.messages[0]?.data).to.include({ code: 'not-found' });
      await instance.close();
    });

    it('takes a lost role seriously: who is no admin any more watches what a user may', async () => {
      const admin = await buildUser(db, { role: 'admin' });
      const token = api.signIn(admin);
      const client = await connect(token);
      await client.subscribe(['agents', 'user:notifications']);
      api.tokens.set(token, { user: { id: admin.id, role: 'user' }, expiresAt: inAnHour() });
      await waitFor(() => client.of('agents').some(({ type }) => type === 'error'), { what: 'the word' });
      expect(client.of('user:notifications')).to.be.empty;
    });

    it('refuses cursors that are none, and those from beyond the end, without harm to the other channels', async () => {
      const owner = await buildUser(db);
      const server = await buildServer(db, { user_id: owner.id });
      const operation = await buildOperation(db, { server_id: server.id });
      await appendTo(db, { operation });
      const client = await connect(api.signIn(owner));
      const [status, operations] = [`server:${server.id}:status`, `server:${server.id}:operations`];
      const single = `operation:${operation.id}`;
      const answer = await client.subscribe([status, operations, single], {
        [status]: 'cGxlYXNl',
        [operations]: encodeCursor(2),
      });
      expect(answer.subscribed).to.deep.equal([single]);
      expect(answer.denied).to.have.deep.members([
        { channel: status, code: 'invalid-request' },
        { channel: operations, code: 'invalid-request' },
      ]);
      // The mad cursor of one client is not another's: the next event arrives.
      const other = await connect(api.signIn(owner));
      await other.subscribe([operations]);
      await appendTo(db, { operation }, bus);
      await waitFor(() => other.messages.length === 2, { what: 'the event after the newest' });
    });

    it('lets one client watch 200 channels and no more', async () => {
      const owner = await buildUser(db);
      const operations = [];
      for (let n = 0; n < 201; n++)
        operations.push(await buildOperation(db, { server_id: null, requested_by: owner.id }));
      const names = operations.map(({ id }) => `operation:${id}`);
      const client = await connect(api.signIn(owner));
      expect((await client.subscribe(names.slice(0, 200))).subscribed).to.have.length(200);
      expect((await client.subscribe(names.slice(199))).denied).to.deep.equal([
        { channel: names[200], code: 'rate-limited' },
      ]);
    });

    it('lets one user have 100 connections and no more', async () => {
      const token = api.signIn(await buildUser(db));
      await Promise.all(Array.from({ length: 100 }, () => connect(token)));
      const one = await connect(token);
      await waitFor(() => one.socket.disconnected, { what: 'the last one to be cut' });
      expect(one.messages.at(-1)?.data).to.include({ code: 'rate-limited' });
    });
  });

  describe('command', () => {
    it('goes to the server for whoever may write to its console, and brings the output back', async () => {
      const server = await buildServer(db);
      const user = await member(server.id, ['console.write']);
      const answer = await (await connect(api.signIn(user))).command(server.id, 'say hello');
      expect(answer).to.deep.equal({ accepted: true, output: 'did say hello' });
      expect(commands.at(-1)).to.deep.equal({ user: user.id, serverId: server.id, command: 'say hello' });
    });

    it('of an API key takes the scope `console`, and what its owner may', async () => {
      const server = await buildServer(db);
      const { id, role } = await member(server.id, ['console.write']);
      const sendWith = async (scopes: Scope[]) =>
        (await connect(api.signIn({ id, role, scopes }, null))).command(server.id, 'say hello');
      expect(await sendWith(['console'])).to.include({ accepted: true });
      expect(await sendWith(['read', 'power'])).to.have.nested.include({
        'error.code': 'insufficient-scope',
      });
    });

    it('is refused with the reason', async () => {
      const server = await buildServer(db);
      const reader = await connect(api.signIn(await member(server.id, ['console.read'])));
      const writer = await connect(api.signIn(await member(server.id, ['console.write'])));
      const stranger = await connect(api.signIn(await buildUser(db)));
      const send = async (client: SocketClient, command: string) => {
        const answer = await client.command(server.id, command);
        return answer.accepted ? 'accepted' : answer.error;
      };
      expect(await send(reader, 'stop')).to.include({ code: 'forbidden' });
      expect(await send(stranger, 'stop')).to.include({ code: 'not-found' });
      expect(await send(writer, 'fail')).to.include({ code: 'server-not-running' });
      expect(await send(writer, 'break')).to.deep.equal({
        code: 'internal',
        detail: 'Something broke on our side',
      });
      expect(await send(writer, 'say hi\nop me')).to.include({ code: 'invalid-request' });
      expect(await send(writer, 'x'.repeat(4_096))).to.include({ code: 'invalid-request' });
    });
  });

  describe('bad input', () => {
    for (const [event, ...args] of [
      ['subscribe'],
      ['subscribe', null],
      ['subscribe', { channels: 'agents' }],
      ['subscribe', { channels: [] }],
      ['subscribe', { channels: [1] }],
      ['subscribe', { channels: ['agents'], since: 1 }],
      ['subscribe', { channels: ['agents'], after: { agents: 7 } }],
      ['subscribe', { channels: Array.from({ length: 201 }, () => 'agents') }],
      ['unsubscribe', {}],
      ['command', { server_id: '../../etc', command: 'stop' }],
      ['command', { server_id: crypto.randomUUID() }],
      ['constructor', {}],
      ['shutdown', {}],
    ] as const) {
      it(`is answered with an error: ${event} ${JSON.stringify(args).slice(0, 60)}`, async () => {
        const { socket } = await connect(api.signIn(await buildUser(db)));
        const untyped: { emitWithAck(event: string, ...args: unknown[]): Promise<unknown> } =
          socket.timeout(5_000);
        expect(await untyped.emitWithAck(event, ...args)).to.have.nested.property(
          'error.code',
          'invalid-request',
        );
      });
    }

    it('is answered by a message where the client left no way to answer', async () => {
      const client = await connect(api.signIn(await buildUser(db)));
      const untyped: { emit(event: string, ...args: unknown[]): unknown } = client.socket;
      untyped.emit('subscribe', { channels: ['user:notifications'] });
      untyped.emit('command', 7);
      await waitFor(() => client.messages.length === 1, { what: 'the message' });
      expect(client.messages[0]).to.include({ type: 'error', channel: '' });
    });

    it('ends the connection when a frame is larger than 64 KiB', async () => {
      const client = await connect(api.signIn(await buildUser(db)));
      client.socket.emit('unsubscribe', { channels: ['x'.repeat(70_000)] });
      await waitFor(() => client.socket.disconnected, { what: 'the disconnect' });
    });

    it('is slowed down when it comes too fast, and cut off when it does not stop', async () => {
      const client = await connect(api.signIn(await buildUser(db)));
      const ask = () => client.unsubscribe(['agents']);
      const answers = await Promise.all(Array.from({ length: 300 }, ask));
      const refused = answers.filter(answer => 'error' in answer);
      // On a slow machine some more get through, twenty a second.
      expect(refused).to.have.length.within(20, 100);
      expect(refused[0]).to.have.nested.property('error.code', 'rate-limited');
      for (let n = 0; n < 2_000; n++) void ask();
      await waitFor(() => client.socket.disconnected, { what: 'the disconnect' });
    });
  });
});
