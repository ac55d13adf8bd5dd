import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { readMetricHeads, readMetricsAfter } from '#src/db/metrics.js';
import { readAgentHistory, readServerHistory } from '#src/db/metricsHistory.js';
import { readSamplePosition, storeSamples, type Sample, type SampleBatch } from '#src/db/sampleStorage.js';
import { rows } from '#src/db/sql.js';
import type { AgentMetricRow, ServerMetricRow } from '#src/db/types.js';
import { buildAgent, buildServer } from '../build.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';

const HOST = {
  cpu_percent: 50,
  memory_total: 16e9,
  memory_used: 4e9,
  disk_total: 100e9,
  disk_used: 10e9,
  network_sent: 1,
  network_received: 2,
};

describe('sample storage', () => {
  let database: TestDatabase;
  let serverId: string;
  let agentId: string;

  before(async () => {
    database = await createTestDatabase();
  });
  beforeEach(async () => {
    ({ id: serverId, agent_id: agentId } = await buildServer(database.db));
  });
  after(() => database.drop());

  const sample = (seq: number, overrides: Partial<Sample> = {}): Sample => ({
    seq,
    age_ms: 0,
    host: HOST,
    servers: [{ server_id: serverId, cpu_percent: seq, memory_used: 1e9, players_online: seq }],
    ...overrides,
  });
  const batch = (samples: readonly Sample[], overrides: Partial<SampleBatch> = {}): SampleBatch => ({
    agent_id: agentId,
    expected: null,
    incarnation: 'i1',
    samples,
    ...overrides,
  });
  const ofServer = (id = serverId) =>
    rows<ServerMetricRow>(
      database.db,
      'SELECT * FROM server_metrics WHERE server_id = $1 ORDER BY "timestamp"',
      { bind: [id] },
    );
  const ofAgent = () =>
    rows<AgentMetricRow>(
      database.db,
      'SELECT * FROM agent_metrics WHERE agent_id = $1 ORDER BY "timestamp"',
      { bind: [agentId] },
    );

  it('stores a batch once, however often and by however many it is tried', async () => {
    const both = batch([sample(1), sample(2)]);
    const tried = await Promise.all(Array.from({ length: 8 }, () => storeSamples(database.db, both)));
    expect(tried.filter(result => result.outcome === 'stored')).to.have.length(1);
    expect(await storeSamples(database.db, both)).to.deep.equal({
      outcome: 'elsewhere',
      position: { incarnation: 'i1', seq: 2 },
    });
    expect((await ofServer()).map(({ cpu_percent }) => cpu_percent)).to.deep.equal([1, 2]);
    expect(await ofAgent()).to.have.length(2);
  });

  it('goes on where it was, and with a new incarnation from the beginning', async () => {
    const { db } = database;
    await storeSamples(db, batch([sample(1)]));
    await storeSamples(db, batch([sample(2)], { expected: { incarnation: 'i1', seq: 1 } }));
    const stale = batch([sample(3)], { expected: { incarnation: 'i1', seq: 1 } });
    expect(await storeSamples(db, stale)).to.have.property('outcome', 'elsewhere');
    const reborn = batch([sample(1)], { expected: { incarnation: 'i1', seq: 2 }, incarnation: 'i2' });
    expect(await storeSamples(db, reborn)).to.have.property('outcome', 'stored');
    expect(await readSamplePosition(db, agentId)).to.deep.equal({ incarnation: 'i2', seq: 1 });
    expect(await ofServer()).to.have.length(3);
  });

  it('lets no agent speak for the servers of another', async () => {
    const foreign = await buildServer(database.db);
    const servers = [foreign.id, serverId, randomUUID()].map(server_id => ({ server_id, cpu_percent: 7 }));
    const result = await storeSamples(database.db, batch([sample(1, { servers })]));
    expect(result).to.deep.include({ outcome: 'stored', server_ids: [serverId] });
    expect(await ofServer(foreign.id)).to.be.empty;
    expect(await ofServer()).to.have.length(1);
  });

  it('keeps times within the last hour and in order, whatever ages it is told', async () => {
    const ages = [5 * 3_600_000, 1_800_000, 2_000_000, NaN, -7_200_000, 0];
    await storeSamples(database.db, batch(ages.map((age_ms, i) => sample(i + 1, { age_ms }))));
    const found = await ofServer();
    expect(found.map(({ cpu_percent }) => cpu_percent)).to.deep.equal([1, 2, 3, 4, 5, 6]);
    const places = (await readMetricsAfter(database.db, serverId, 0, 10)).map(({ place }) => place);
    // The oldest is at the hour's edge, which has moved on a little since.
    expect(places).to.have.length.within(5, 6);
    expect(places).to.deep.equal([...new Set(places)].toSorted((a, b) => a - b));
    const agesNow = found.map(({ timestamp }) => (Date.now() - timestamp.getTime()) / 60_000);
    const minutes = [60, 30, 30, 0, 0, 0];
    for (const [i, age] of agesNow.entries()) expect(age).to.be.closeTo(minutes[i] ?? NaN, 1);
    expect((await readMetricHeads(database.db, [serverId])).get(serverId)).to.equal(places.at(-1));
  });

  it('grows also when the next batch claims to be older than the last', async () => {
    await storeSamples(database.db, batch([sample(1)]));
    const older = batch([sample(2, { age_ms: 600_000 })], { expected: { incarnation: 'i1', seq: 1 } });
    await storeSamples(database.db, older);
    const found = await readMetricsAfter(database.db, serverId, 0, 10);
    expect(found.map(({ cpu_percent }) => cpu_percent)).to.deep.equal([1, 2]);
    expect((found[1]?.place ?? 0) - (found[0]?.place ?? 0)).to.equal(1);
  });

  it('keeps what is sane of a mad sample, and the samples beside it', async () => {
    const mad = {
      cpu_percent: NaN,
      memory_used: -1,
      players_online: 2 ** 40,
      tps: Infinity,
      uptime_seconds: 1.5,
      disk_used: 2 ** 60,
    };
    const servers = [
      { server_id: "'; DROP TABLE servers", ...mad },
      { server_id: serverId, ...mad, tps: 19.5 },
    ];
    const host = { ...HOST, cpu_percent: 4_000, memory_total: -5, network_sent: 0.5 };
    const result = await storeSamples(
      database.db,
      batch([sample(1, { servers, host }), sample(2, { host: null })]),
    );
    expect(result).to.have.property('outcome', 'stored');
    const [first, second] = await ofServer();
    expect(first).to.include({
      cpu_percent: null,
      memory_used: null,
      players_online: null,
      tps: 19.5,
      uptime_seconds: null,
      disk_used: null,
    });
    expect(second).to.include({ cpu_percent: 2, memory_used: 1e9 });
    const [measured, ...none] = await ofAgent();
    expect(measured).to.include({
      cpu_percent: null,
      memory_total: null,
      memory_used: 4e9,
      network_sent: null,
    });
    expect(none).to.be.empty;
  });

  it('writes a server once a sample, though it is named twice', async () => {
    const servers = [1, 2].map(cpu_percent => ({ server_id: serverId, cpu_percent }));
    await storeSamples(database.db, batch([sample(1, { servers })]));
    expect(await ofServer()).to.have.length(1);
  });

  it('writes into partitions of the day', async () => {
    await storeSamples(database.db, batch([sample(1)]));
    for (const table of ['server_metrics', 'agent_metrics']) {
      const [found] = await rows<{ partition: string }>(
        database.db,
        `SELECT tableoid::regclass::text AS partition FROM ${table} ORDER BY "timestamp" DESC LIMIT 1`,
      );
      expect(found?.partition).to.match(new RegExp(`^${table}_\\d{8}$`));
    }
  });

  it('says that an agent is gone', async () => {
    const gone = batch([sample(1)], { agent_id: randomUUID() });
    expect(await storeSamples(database.db, gone)).to.deep.equal({ outcome: 'gone' });
  });

  it('has a head after a move that no cursor of the old agent is beyond', async () => {
    const { db } = database;
    await storeSamples(db, batch([sample(1)]));
    const before = (await readMetricHeads(db, [serverId])).get(serverId) ?? 0;
    await db.models.Server.update({ agent_id: (await buildAgent(db)).id }, { where: { id: serverId } });
    expect((await readMetricHeads(db, [serverId])).get(serverId)).to.equal(before);
  });

  describe('history', () => {
    const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 12) + seconds * 1000);
    const write = (seconds: number, values: Partial<ServerMetricRow>) =>
      database.db.models.ServerMetric.create({ server_id: serverId, timestamp: at(seconds), ...values });
    const read = (from: number, to: number, stepS: number) =>
      readServerHistory(database.db, serverId, { from: at(from), to: at(to), stepS });

    it('begins a step with its first moment and ends it before the next one', async () => {
      for (const second of [-1, 0, 59.999, 60, 119, 180])
        await write(second, { players_online: 1, tps: second });
      const found = await read(0, 180, 60);
      expect(found.map(({ timestamp, tps }) => [timestamp.getTime(), tps])).to.deep.equal([
        [at(0).getTime(), 30],
        [at(60).getTime(), 89.5],
      ]);
    });

    it('counts steps from 1970, however the range lies, and leaves out those without a sample', async () => {
      for (const second of [10, 50, 250]) await write(second, { cpu_percent: second });
      const found = await read(20, 300, 120);
      expect(found.map(({ timestamp, cpu_percent }) => [timestamp.getTime(), cpu_percent])).to.deep.equal([
        [at(0).getTime(), 50],
        [at(240).getTime(), 250],
      ]);
    });

    it('means levels, takes the most players and the last uptime, and passes over what was not measured', async () => {
      await write(0, { cpu_percent: 10, memory_used: 1, players_online: 5, tps: 20, uptime_seconds: 900 });
      await write(10, {
        cpu_percent: 11,
        memory_used: 2,
        players_online: 9,
        uptime_seconds: 5,
        disk_used: 7,
      });
      await write(20, { cpu_percent: 13, players_online: 2 });
      const [point, ...more] = await read(0, 60, 60);
      expect(more).to.be.empty;
      expect(point).to.deep.include({
        server_id: serverId,
        cpu_percent: 11.33,
        memory_used: 2,
        players_online: 9,
        tps: 20,
        uptime_seconds: 5,
        disk_used: 7,
      });
    });

    it('is null where nothing was measured in a step', async () => {
      await write(0, {});
      expect((await read(0, 60, 60))[0]).to.include({
        cpu_percent: null,
        memory_used: null,
        uptime_seconds: null,
      });
    });

    it('of an agent is its host’s', async () => {
      const { db } = database;
      await storeSamples(db, batch([1, 2].map(seq => sample(seq, { host: { ...HOST, network_sent: seq } }))));
      const range = { from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 60_000), stepS: 86_400 };
      const found = await readAgentHistory(db, agentId, range);
      expect(found.at(-1)).to.deep.include({ ...HOST, network_sent: 2 });
    });
  });
});
