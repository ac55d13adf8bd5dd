import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import { connectDatabase, type Database } from '#src/db/connect.js';
import type { Message } from '#src/contracts/events.js';
import { buildOperation, buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { decodeCursor } from '#src/contracts/cursor.js';
import { readLogs, storeConsole } from '#src/db/consoleStorage.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { appendTo } from '#test/harness/operationEvents.js';
import { silent, startRealtimeServer } from '#test/harness/realtimeServer.js';
import { findRedisServer, startRedis } from '#test/harness/redis.js';
import { connectSocket, operationData, type SocketClient } from '#test/harness/socketClient.js';
import { startTcpProxy } from '#test/harness/tcpProxy.js';
import { waitFor } from '#test/harness/waitFor.js';

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const seqs = (messages: readonly Message[]) => operationData(messages).map(({ event }) => event.seq);

/** Nobody else to tell: each instance hears only itself. */
const alone = () => createBus({ redisUrl: undefined, logger: silent });

describe('realtime under faults', function () {
  this.timeout(120_000);
  let database: TestDatabase;
  let db: Database;
  const cleanUps: (() => unknown)[] = [];

  before(async () => {
    database = await createTestDatabase();
    db = database.db;
  });
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
  });
  after(() => database.drop());

  function cleanedUp<T extends { close(): unknown }>(part: T): T {
    cleanUps.push(() => part.close());
    return part;
  }

  async function startApi(bus: Bus, deps: Parameters<typeof startRealtimeServer>[0] | object = {}) {
    return cleanedUp(await startRealtimeServer({ db, bus, ...deps }));
  }

  async function stage() {
    const owner = await buildUser(db);
    const server = await buildServer(db, { user_id: owner.id });
    const operation = await buildOperation(db, { server_id: server.id, state: 'running' });
    return { owner, server, operation, channel: `operation:${operation.id}` };
  }

  const connect = async (url: string, token: string) => cleanedUp(await connectSocket(url, { token }));

  it('loses and repeats nothing for three clients that are cut off again and again', async () => {
    const bus = alone();
    const [one, other] = [await startApi(bus), await startApi(bus)];
    const { owner, operation, channel } = await stage();
    const total = 2_000;
    let appending = true;
    let cuts = 0;
    // A test that runs out of time must not go on behind the next one.
    const over = new AbortController();
    cleanUps.push(() => over.abort());

    /** Comes back to whichever instance, always from its own last cursor. */
    async function watch(n: number): Promise<Message[]> {
      const toOne = cleanedUp(await startTcpProxy(one.url));
      const toOther = cleanedUp(await startTcpProxy(other.url));
      const seen: Message[] = [];
      let cursors: Record<string, string> = {};
      for (let turn = n; !over.signal.aborted && seen.length < total; turn++) {
        const [api, proxy] = turn % 2 === 0 ? ([one, toOne] as const) : ([other, toOther] as const);
        const client = await connectSocket(proxy.url, { token: api.signIn(owner) });
        const before = seen.length;
        // A client is what it has shown to its user, whether or not the answer got through.
        await client.subscribe([channel], cursors).catch(() => undefined);
        if (appending) await sleep(100 + 100 * n);
        else
          await waitFor(() => before + client.messages.length >= total, {
            what: `client ${n} to catch up`,
            timeoutMs: 30_000,
          });
        proxy.cut();
        await waitFor(() => client.socket.disconnected, { what: 'the cut' });
        seen.push(...client.messages);
        cursors = { ...cursors, ...Object.fromEntries(client.cursors) };
        cuts++;
      }
      return seen;
    }

    const watching = Promise.all([0, 1, 2].map(watch));
    for (let n = 0; n < total && !over.signal.aborted; n++) await appendTo(db, { operation }, bus);
    appending = false;
    for (const seen of await watching) expect(seqs(seen)).to.deep.equal(upTo(total));
    expect(cuts).to.be.greaterThan(12);
  });

  it('lets nobody wait for a client that does not read, and gives that one everything later', async () => {
    const bus = alone();
    const api = await startApi(bus);
    const { owner, operation, channel } = await stage();
    const proxy = cleanedUp(await startTcpProxy(api.url));
    const slow = await connect(proxy.url, api.signIn(owner));
    const quick = await connect(api.url, api.signIn(owner));
    await slow.subscribe([channel]);
    await quick.subscribe([channel]);

    proxy.stall(true);
    // Large enough for a few hundred of them to fill every buffer of the kernel on the way.
    const data = { reason: 'x'.repeat(40_000) };
    const total = 600;
    for (let n = 0; n < total; n++) await appendTo(db, { operation, data }, bus);
    await waitFor(() => quick.messages.length === total, { what: 'the quick client to have all' });
    expect(slow.messages.length).to.be.below(total);

    proxy.stall(false);
    await waitFor(() => slow.messages.length === total, {
      what: 'the slow client to have all',
      timeoutMs: 30_000,
    });
    expect(seqs(slow.messages)).to.deep.equal(upTo(total));
  });

  it('shows a slow client of a console the newest lines and says what it left out, and its events come before them', async () => {
    const bus = alone();
    const api = await startApi(bus);
    const { owner, server, operation } = await stage();
    const [logs, status] = [`server:${server.id}:logs`, `server:${server.id}:status`] as const;
    const proxy = cleanedUp(await startTcpProxy(api.url));
    const slow = await connect(proxy.url, api.signIn(owner));
    const quick = await connect(api.url, api.signIn(owner));
    for (const client of [slow, quick]) await client.subscribe([logs, status]);

    proxy.stall(true);
    const stalled = performance.now();
    const total = 3_000;
    for (let from = 0; from < total; from += 50) {
      const entries = joinEntries(Array.from({ length: 50 }, (_, n) => `${from + n} ${'x'.repeat(10_000)}`));
      const piece = { server_id: server.id, run_id: 'r', from, to: from + 50, at_ms: Date.now(), entries };
      const stored = await storeConsole(db, piece);
      if (stored.outcome !== 'stored' || stored.head === null) throw new Error('nothing was stored');
      bus.publish('console', { server_id: server.id, head: stored.head });
    }
    await waitFor(() => quick.of(logs).length === total, {
      what: 'the quick client to have all',
      timeoutMs: 30_000,
    });
    await appendTo(
      db,
      { operation, type: 'status_changed', data: { status: 'starting', previous_status: 'stopped' } },
      bus,
    );
    await waitFor(() => quick.of(status).length === 2, { what: 'the status at the quick client' });
    expect(slow.of(logs).length).to.be.lessThan(total);
    await waitFor(() => performance.now() - stalled > 1_500, { what: 'it to be late' });
    proxy.stall(false);
    const numbersOf = (lines: readonly unknown[]) =>
      lines.map(line => Number(/"message":"(\d+)/.exec(JSON.stringify(line))?.[1]));
    await waitFor(() => numbersOf(slow.of(logs)).at(-1) === total - 1, {
      what: 'the last line',
      timeoutMs: 30_000,
    });
    expect(slow.of(status)).to.have.length(2);

    const seen = slow.of(logs);
    const at = seen.findIndex(({ type }) => type === 'error');
    const [before, mark, after] = [seen.slice(0, at), seen[at], seen.slice(at + 1)];
    const missed = await readLogs(db, server.id, {
      after: decodeCursor(mark?.cursor ?? ''),
      limit: total - before.length - after.length,
    });
    expect(mark?.data).to.deep.equal({ code: 'dropped', dropped: missed.length });
    expect(numbersOf([...before, ...missed, ...after])).to.deep.equal(
      Array.from({ length: total }, (_, n) => n),
    );
  });

  it('brings another process’s events within the poll’s second when there is no bus between them', async () => {
    const { owner, server, operation, channel } = await stage();
    const [one, other] = [await startApi(alone(), { pollMs: 200 }), await startApi(alone(), { pollMs: 200 })];
    const clients = await Promise.all([one, other].map(api => connect(api.url, api.signIn(owner))));
    const channels = [channel, `server:${server.id}:status`];
    for (const client of clients) await client.subscribe(channels);
    for (let n = 0; n < 50; n++) await appendTo(db, { operation });
    await appendTo(db, { operation, type: 'status_changed', data: { status: 'starting' } });
    const committed = performance.now();
    for (const client of clients) {
      await waitFor(() => client.messages.length === 1 + 51 + 1, { what: 'all events' });
      expect(seqs(client.of(channel))).to.deep.equal(upTo(51));
    }
    expect(performance.now() - committed).to.be.below(1_000);
  });

  it('brings them at once over Redis, and no later than the poll when Redis dies', async function () {
    const binary = findRedisServer();
    if (binary === null) this.skip();
    const redis = await startRedis(binary);
    cleanUps.push(() => redis.stop());
    const bus = () => cleanedUp(createBus({ redisUrl: redis.url, logger: silent }));
    const [buses, worker] = [[bus(), bus()], bus()] as const;
    const { owner, operation, channel } = await stage();
    const clients: SocketClient[] = [];
    for (const each of buses) {
      // So slow a poll that whatever is quick came over Redis.
      const api = await startApi(each, { pollMs: 3_000 });
      clients.push(await connect(api.url, api.signIn(owner)));
    }
    for (const client of clients) await client.subscribe([channel]);
    await waitFor(() => [...buses, worker].every(each => each.shared), { what: 'all to be joined' });

    const begun = performance.now();
    for (let n = 0; n < 20; n++) await appendTo(db, { operation }, worker);
    for (const client of clients) await waitFor(() => client.messages.length === 20, { what: 'all events' });
    expect(performance.now() - begun).to.be.below(2_000);

    await redis.kill();
    for (let n = 0; n < 20; n++) await appendTo(db, { operation }, worker);
    for (const client of clients) {
      await waitFor(() => client.messages.length === 40, { what: 'the events that no poke announced' });
      expect(seqs(client.messages)).to.deep.equal(upTo(40));
    }
  });

  it('goes on where it was when Postgres comes back', async () => {
    const { owner, server, operation, channel } = await stage();
    const bus = alone();
    const proxy = cleanedUp(await startTcpProxy(database.url));
    const url = new URL(database.url);
    url.host = new URL(proxy.url).host;
    const cut = cleanedUp(connectDatabase({ url: url.href, poolMax: 4, applicationName: 'test' }));
    const api = await startApi(bus, { db: cut });
    const client = await connect(api.url, api.signIn(owner));
    await client.subscribe([channel]);
    await appendTo(db, { operation }, bus);
    await waitFor(() => client.messages.length === 1, { what: 'the first event' });

    proxy.refuse(true);
    for (let n = 0; n < 30; n++) await appendTo(db, { operation }, bus);
    const refusal: unknown = await client
      .subscribe([`server:${server.id}:status`])
      .catch((error: unknown) => error);
    expect(refusal).to.have.property('code', 'database-unavailable');
    expect(client.messages).to.have.length(1);
    proxy.refuse(false);
    await waitFor(() => client.messages.length === 31, { what: 'what was appended meanwhile' });
    expect(seqs(client.messages)).to.deep.equal(upTo(31));
  });

  it('sends clients away at a shutdown so that they come again by themselves, and leaves nothing behind', async () => {
    const bus = alone();
    const api = await startRealtimeServer({ db, bus, pollMs: 100 });
    const { owner, channel } = await stage();
    const client = cleanedUp(await connectSocket(api.url, { token: api.signIn(owner), reconnection: true }));
    await client.subscribe([channel]);
    await api.close();
    await waitFor(() => client.socket.disconnected, { what: 'the disconnect' });
    expect(client.messages.at(-1)?.data).to.include({ code: 'shutting-down' });
    // `active`: the client is trying to reconnect, which it would not after being told to stay away.
    expect(client.socket.active).to.equal(true);
    expect(api.hub.stats).to.deep.equal({ clients: 0, subscriptions: 0, feeds: 0 });
  });

  it('closes although a client reads nothing', async () => {
    const bus = alone();
    const api = await startRealtimeServer({ db, bus });
    const { owner, operation, channel } = await stage();
    const proxy = cleanedUp(await startTcpProxy(api.url));
    const slow = await connect(proxy.url, api.signIn(owner));
    await slow.subscribe([channel]);
    proxy.stall(true);
    for (let n = 0; n < 300; n++)
      await appendTo(db, { operation, data: { reason: 'x'.repeat(40_000) } }, bus);
    const begun = performance.now();
    await api.close();
    expect(performance.now() - begun).to.be.below(3_000);
  });
});
