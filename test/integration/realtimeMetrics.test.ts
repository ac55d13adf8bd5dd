import { expect } from 'chai';
import { createBus } from '#src/bus/createBus.js';
import { encodeCursor } from '#src/contracts/cursor.js';
import type { Message } from '#src/contracts/events.js';
import type { Database } from '#src/db/connect.js';
import { readSamplePosition, storeSamples } from '#src/db/sampleStorage.js';
import { buildServer, buildUser } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { silent, startRealtimeServer } from '#test/harness/realtimeServer.js';
import { connectSocket } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';

const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => from + i);

describe('server:<id>:metrics', function () {
  this.timeout(30_000);
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

  async function stage({ pollMs = null }: { pollMs?: number | null } = {}) {
    const bus = createBus({ redisUrl: undefined, logger: silent });
    const api = cleanedUp(await startRealtimeServer({ db, bus, pollMs }));
    const owner = await buildUser(db);
    const { id, agent_id } = await buildServer(db, { user_id: owner.id });
    const channel = `server:${id}:metrics`;
    const connect = async () => cleanedUp(await connectSocket(api.url, { token: api.signIn(owner) }));

    /** As the collector does: stored first, then announced; `n` is what the sample says of the processor. */
    async function sample(n: number, { isAnnounced = true, ageMs = 0, serverId = id } = {}): Promise<number> {
      const result = await storeSamples(db, {
        agent_id,
        expected: await readSamplePosition(db, agent_id),
        incarnation: 'i',
        samples: [{ seq: n, age_ms: ageMs, host: null, servers: [{ server_id: serverId, cpu_percent: n }] }],
      });
      if (result.outcome !== 'stored') throw new Error('nothing was stored');
      if (isAnnounced) bus.publish('samples', { server_ids: result.server_ids, head: result.head });
      return result.head;
    }
    return { id, agent_id, channel, connect, sample };
  }

  const numbersOf = (messages: readonly Message[]) =>
    messages.map(({ data }) =>
      typeof data === 'object' && data !== null && 'cpu_percent' in data ? data.cpu_percent : undefined,
    );

  it('shows a newcomer the newest row, then every one that comes', async () => {
    const { id, channel, connect, sample } = await stage();
    await sample(1);
    await sample(2);
    const client = await connect();
    const { backlog } = await client.subscribe([channel]);
    expect(backlog).to.have.length(1);
    const { timestamp, cursor, ...message } = backlog[0] ?? {};
    expect(cursor).to.be.a('string');
    expect(message).to.deep.equal({
      type: 'metrics',
      channel,
      data: {
        server_id: id,
        timestamp,
        cpu_percent: 2,
        memory_used: null,
        players_online: null,
        tps: null,
        uptime_seconds: null,
        disk_used: null,
      },
    });
    await sample(3);
    await sample(4);
    await waitFor(() => client.messages.length === 3, { what: 'both' });
    expect(numbersOf(client.messages)).to.deep.equal([2, 3, 4]);
  });

  it('begins with nothing for a server that was never measured', async () => {
    const { channel, connect, sample } = await stage();
    const client = await connect();
    expect(await client.subscribe([channel])).to.deep.equal({
      subscribed: [channel],
      denied: [],
      backlog: [],
    });
    await sample(1);
    await waitFor(() => client.messages.length === 1, { what: 'the first' });
  });

  it('goes on from a cursor: nothing lost, nothing twice, also of what comes meanwhile', async () => {
    const { channel, connect, sample } = await stage();
    const places: number[] = [];
    for (const n of upTo(300)) places.push(await sample(n));
    const client = await connect();
    const subscribing = client.subscribe([channel], { [channel]: encodeCursor(places[4] ?? 0) });
    // Some of these come before the backlog is read, some meanwhile, some after.
    for (const n of upTo(340, 301)) await sample(n);
    await subscribing;
    await waitFor(() => client.messages.length >= 335, { what: 'all of them' });
    expect(numbersOf(client.messages)).to.deep.equal(upTo(340, 6));
    const again = await connect();
    const quiet = await again.subscribe([channel], Object.fromEntries(client.cursors));
    expect(quiet.backlog).to.be.empty;
  });

  it('goes back no further than an hour', async () => {
    const { channel, connect, id } = await stage();
    const old = new Date(Date.now() - 2 * 3_600_000);
    await db.models.ServerMetric.create({ server_id: id, timestamp: old, cpu_percent: 1 });
    await db.models.ServerMetric.create({ server_id: id, cpu_percent: 2 });
    const client = await connect();
    const { backlog } = await client.subscribe([channel], { [channel]: encodeCursor(1) });
    expect(numbersOf(backlog)).to.deep.equal([2]);
  });

  it('brings what no poke announced with the next poll', async () => {
    const { channel, connect, sample } = await stage({ pollMs: 100 });
    const client = await connect();
    await sample(1, { isAnnounced: false });
    await client.subscribe([channel]);
    for (const n of upTo(20, 2)) await sample(n, { isAnnounced: false });
    await waitFor(() => client.messages.length === 20, { what: 'all of them', timeoutMs: 5_000 });
    expect(numbersOf(client.messages)).to.deep.equal(upTo(20));
  });

  it('is not disturbed by samples of the agent’s other servers', async () => {
    const { agent_id, channel, connect, sample } = await stage({ pollMs: 100 });
    const other = await buildServer(db, { agent_id });
    const client = await connect();
    await client.subscribe([channel]);
    for (const n of upTo(5)) await sample(n, { serverId: other.id });
    await sample(6);
    await waitFor(() => client.messages.length > 0, { what: 'its own' });
    expect(numbersOf(client.messages)).to.deep.equal([6]);
  });

  it('goes on over a move to an agent that has nothing to tell yet', async () => {
    const { id, channel, connect, sample } = await stage();
    await sample(1);
    const client = await connect();
    await client.subscribe([channel]);
    const target = await buildServer(db);
    await db.models.Server.update({ agent_id: target.agent_id }, { where: { id } });
    const again = await connect();
    const { denied } = await again.subscribe([channel], Object.fromEntries(client.cursors));
    expect(denied).to.be.empty;
  });
});
