import { MockActivityEnvironment } from '@temporalio/testing';
import { CancelledFailure } from '@temporalio/activity';
import { expect } from 'chai';
import pino from 'pino';
import { createLinkActivities, type LinkDeps } from '#activities/agentLink.js';
import { SampleCollector } from '#activities/sampleCollector.js';
import { HungServers } from '#activities/hungServers.js';
import type { EventBatch } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import type { Bus } from '#src/bus/bus.js';
import { createBus } from '#src/bus/createBus.js';
import { beginOperation } from '#src/db/carryOperation.js';
import { finishOperation } from '#src/db/endOperation.js';
import { listAgents } from '#src/db/reconciliation.js';
import { readSamplePosition } from '#src/db/sampleStorage.js';
import { rows } from '#src/db/sql.js';
import type { AgentRow, NotificationRow, OperationRow, ServerMetricRow, ServerRow } from '#src/db/types.js';
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { buildAgent, buildServer, buildUser } from '../build.js';
import { startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';
import { waitFor } from '../harness/waitFor.js';

const logger = pino({ level: 'silent' });

describe('samples of an agent', function () {
  this.timeout(30_000);
  let database: TestDatabase;
  let agent: FakeAgent;
  let agentRow: AgentRow;
  let gateway: AgentGateway;
  let bus: Bus;
  let deps: LinkDeps;
  const cleanUps: (() => unknown)[] = [];

  before(async () => {
    database = await createTestDatabase();
    gateway = createGrpcGateway({ logger, defaultDeadlineMs: 5_000 });
  });
  beforeEach(async () => {
    const { db } = database;
    agent = await startFakeAgent();
    const { id, host, port } = agent.address;
    await buildAgent(db, { id, ip_address: host, port, tls_mode: 'plaintext' });
    const row = (await listAgents(db)).find(each => each.id === id);
    if (!row) throw new Error('the agent has no row');
    agentRow = row;
    bus = createBus({ redisUrl: undefined, logger });
    const temporal = () => Promise.reject(new Error('no Temporal here'));
    const dispatcher = new Dispatcher({ db, bus, logger, temporal, eager: false, pollMs: 1_000 });
    const operations = createOperations({ db, bus, dispatcher, temporal, logger });
    const sendNow = (ids: readonly string[]) => dispatcher.sendNow(ids);
    const stopping = new AbortController().signal;
    const openToken = (sealed: string) => sealed;
    deps = {
      db,
      bus,
      gateway,
      operations,
      temporal,
      sendNow,
      logger,
      openToken,
      hungAfterMs: 60_000,
      leaseTtlMs: 180_000,
      stopping,
    };
  });
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
    await agent.stop();
    await database.db.models.Agent.destroy({ where: { id: agentRow.id } });
  });
  after(async () => {
    await gateway.close();
    await database.drop();
  });

  /** Follows all agents until the test is over. */
  function follow(): void {
    const environment = new MockActivityEnvironment();
    const { followAgents } = createLinkActivities(deps);
    const ended = environment.run(followAgents, { shard: 0 }).catch((error: unknown) => error);
    cleanUps.push(async () => {
      environment.cancel();
      expect(await ended).to.be.instanceOf(CancelledFailure);
    });
  }

  /** One that runs at the agent, too, by the run `run`. */
  async function runningServer(overrides: Partial<ServerRow> = {}): Promise<ServerRow> {
    const server = await buildServer(database.db, {
      agent_id: agentRow.id,
      status: 'running',
      desired_state: 'running',
      ...overrides,
    });
    await gateway.submitWork(agent.address, startOf(server.id));
    const watch = gateway.watchWork(agent.address, startOf(server.id).key, { deadlineMs: 5_000 });
    for await (const status of watch) void status;
    return server;
  }

  const cpuOf = async (serverId: string) =>
    (
      await rows<ServerMetricRow>(
        database.db,
        'SELECT * FROM server_metrics WHERE server_id = $1 ORDER BY "timestamp"',
        { bind: [serverId] },
      )
    ).map(({ cpu_percent }) => cpu_percent);

  describe('through the link', () => {
    it('are stored and announced, over restarts of agent and link, each once', async () => {
      const { id: serverId } = await buildServer(database.db, { agent_id: agentRow.id });
      const pokes: { server_ids: string[]; head: number }[] = [];
      cleanUps.push(bus.subscribe('samples', poke => pokes.push(poke)));
      const emit = (cpuPercent: number) => agent.emitSample({ servers: [{ serverId, cpuPercent }] });
      const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
      const stored = (n: number) =>
        waitFor(async () => (await cpuOf(serverId)).length >= n, { what: `${n} samples`, timeoutMs: 10_000 });

      // What was measured while nobody listened is told first.
      upTo(70).forEach(emit);
      follow();
      await stored(70);
      emit(71);
      await stored(71);
      await agent.restart();
      emit(72);
      emit(73);
      await stored(73);
      // Another worker takes over, and asks for no more than what is new.
      await cleanUps.pop()?.();
      emit(74);
      follow();
      await stored(74);
      expect(await cpuOf(serverId)).to.deep.equal(upTo(74));
      expect((await readSamplePosition(database.db, agentRow.id))?.seq).to.equal(3);
      expect(pokes.every(poke => poke.server_ids.includes(serverId))).to.equal(true);
      expect(pokes.map(({ head }) => head)).to.deep.equal(
        pokes.map(({ head }) => head).toSorted((a, b) => a - b),
      );
    });
  });

  describe('of a batch', () => {
    const collector = async () =>
      new SampleCollector(
        { ...deps, hung: new HungServers(deps, agentRow) },
        agentRow.id,
        await readSamplePosition(database.db, agentRow.id),
      );

    it('have the time of our clock, though the agent’s is days away', async () => {
      const { id: serverId } = await buildServer(database.db, { agent_id: agentRow.id });
      for (const skewMs of [-3 * 86_400_000, 3 * 86_400_000, 3_600_000]) {
        await (
          await collector()
        ).add(
          batchOf(
            [
              { serverId, ageMs: 120_000 },
              { serverId, ageMs: 0 },
            ],
            { skewMs, incarnation: `i${skewMs}` },
          ),
        );
      }
      const found = await rows<ServerMetricRow>(
        database.db,
        'SELECT * FROM server_metrics WHERE server_id = $1 ORDER BY id',
        { bind: [serverId] },
      );
      expect(found).to.have.length(6);
      const [first, ...others] = found.map(({ timestamp }) => Date.now() - timestamp.getTime());
      expect(first).to.be.within(119_000, 130_000);
      for (const age of others) expect(age).to.be.within(-1_000, 10_000);
    });

    it('are passed over when they were told before, and when the batch says of no incarnation that they are', async () => {
      const { id: serverId } = await buildServer(database.db, { agent_id: agentRow.id });
      const one = await collector();
      await one.add(batchOf([{ serverId }, { serverId }]));
      await one.add(batchOf([{ serverId }, { serverId }, { serverId }]));
      await one.add(batchOf([{ serverId }], { incarnation: '' }));
      await one.add(batchOf([{ serverId }], { incarnation: 'a\0b' }));
      expect(await cpuOf(serverId)).to.have.length(3);
    });

    it('that another link has stored further are refused, so that the stream is opened anew', async () => {
      const { id: serverId } = await buildServer(database.db, { agent_id: agentRow.id });
      const [one, other] = [await collector(), await collector()];
      await one.add(batchOf([{ serverId }, { serverId }]));
      // It is all there already.
      await other.add(batchOf([{ serverId }]));
      const late = await collector();
      await one.add(batchOf([{ serverId }, { serverId }, { serverId }]));
      const refusal = await late
        .add(batchOf([{ serverId }, { serverId }, { serverId }, { serverId }]))
        .catch((error: unknown) => error);
      expect(refusal).to.have.property('code', 'stale-write');
      expect(await cpuOf(serverId)).to.have.length(3);
    });
  });

  describe('of a server that does not answer', () => {
    const alertsOf = (serverId: string) =>
      rows<NotificationRow>(
        database.db,
        `SELECT * FROM notifications WHERE server_id = $1 ORDER BY created_at`,
        { bind: [serverId] },
      );
    const operationsOf = (serverId: string) =>
      rows<OperationRow>(database.db, 'SELECT * FROM operations WHERE server_id = $1 ORDER BY created_at', {
        bind: [serverId],
      });
    const reporter = async () => {
      const samples = new SampleCollector(
        { ...deps, hung: new HungServers(deps, agentRow) },
        agentRow.id,
        await readSamplePosition(database.db, agentRow.id),
      );
      return (serverId: string, unresponsiveSeconds: number | undefined, more: Partial<Told> = {}) =>
        samples.add(
          batchOf([{ serverId, runId: runOf(serverId), unresponsiveSeconds, ...more }], { next: true }),
        );
    };
    const runOf = (serverId: string) => agent.servers.get(serverId)?.runId ?? 'run';

    it('alert whoever sees it once, and poke the bus for each of them', async () => {
      const admin = await buildUser(database.db, { role: 'admin' });
      const { id, user_id } = await runningServer();
      const poked: string[] = [];
      cleanUps.push(bus.subscribe('notifications', poke => poked.push(poke.user_id)));
      const report = await reporter();
      await report(id, 59);
      expect(await alertsOf(id)).to.be.empty;
      for (const seconds of [69, 79, 90]) await report(id, seconds);
      // Another link does not know what was told, and measures its beginning a little differently.
      await (
        await reporter()
      )(id, 99);
      await (
        await reporter()
      )(id, 112);
      const alerts = await alertsOf(id);
      const told = alerts.map(alert => alert.user_id);
      expect(told).to.have.members([user_id, admin.id]);
      expect(alerts[0]).to.include({ type: 'alert', severity: 'critical' });
      expect(alerts[0]?.data).to.include({ code: 'server-hung', seconds: 69 });
      await waitFor(() => poked.length === told.length, { what: 'the pokes' });
      expect(poked).to.have.members(told);
      expect(await operationsOf(id)).to.be.empty;
      await admin.destroy();
    });

    it('alert again when it answered in between, or in another run', async () => {
      const { id } = await runningServer();
      deps = { ...deps, hungAfterMs: 1_000 };
      const report = await reporter();
      await report(id, 75);
      await report(id, 0);
      const [first] = await alertsOf(id);
      const toldAt = first?.created_at.getTime() ?? 0;
      await waitFor(() => Date.now() > toldAt + 1_100, { what: 'a silence that began after that alert' });
      await report(id, 1);
      expect(await alertsOf(id)).to.have.length(2);
      await report(id, 75, { runId: 'another' });
      expect(await alertsOf(id)).to.have.length(3);
    });

    it('say nothing about one that is being stopped or started', async () => {
      const { id } = await runningServer({ status: 'stopping' });
      await (
        await reporter()
      )(id, 75);
      expect(await alertsOf(id)).to.be.empty;
    });

    it('restart it once, where that is wanted', async () => {
      const { id } = await runningServer({ restart_when_hung: true });
      const report = await reporter();
      await report(id, 75);
      const [operation] = await operationsOf(id);
      expect(operation).to.include({ kind: 'server.restart', trigger: 'reconcile', requested_by: null });
      if (!operation) return;
      await report(id, 85);
      await (
        await reporter()
      )(id, 95);
      await beginOperation(database.db, operation.id, 'run');
      await finishOperation(database.db, operation.id, {
        state: 'failed',
        error: { code: 'stop-failed', detail: '' },
      });
      // It has failed, and is not tried again and again.
      await (
        await reporter()
      )(id, 105);
      expect(await operationsOf(id)).to.have.length(1);
      expect(await alertsOf(id)).to.have.length(1);
    });

    it('restart it as soon as no operation acts on it any more', async () => {
      const { id } = await runningServer({ restart_when_hung: true });
      const { operation } = await deps.operations.request({
        kind: 'server.stop',
        serverId: id,
        requestedBy: null,
        trigger: 'user',
        desiredState: 'running',
      });
      const report = await reporter();
      await report(id, 75);
      expect(await operationsOf(id)).to.have.length(1);
      await finishOperation(database.db, operation.id, {
        state: 'failed',
        error: { code: 'stop-failed', detail: '' },
      });
      await report(id, 85);
      expect((await operationsOf(id)).map(({ kind }) => kind)).to.deep.equal([
        'server.stop',
        'server.restart',
      ]);
    });

    it('restart nothing that should not run, nor a run that is over, nor for old news', async () => {
      const unwanted = await runningServer({ restart_when_hung: true, desired_state: 'stopped' });
      const other = await runningServer({ restart_when_hung: true });
      const past = await runningServer({ restart_when_hung: true });
      const report = await reporter();
      await report(unwanted.id, 75);
      await report(other.id, 75, { runId: 'earlier' });
      await report(past.id, 75, { ageMs: 600_000 });
      for (const { id } of [unwanted, other, past]) {
        expect(await operationsOf(id)).to.be.empty;
        expect(await alertsOf(id)).to.have.length(1);
      }
    });

    it('reach them from a real stream', async () => {
      const { id: serverId } = await runningServer({ restart_when_hung: true });
      follow();
      agent.emitSample({ servers: [{ serverId, unresponsiveSeconds: 75 }] });
      await waitFor(async () => (await operationsOf(serverId)).length === 1, { what: 'the restart' });
      expect(await alertsOf(serverId)).to.have.length(1);
    });
  });

  interface Told {
    serverId: string;
    runId: string;
    ageMs: number;
    unresponsiveSeconds: number | undefined;
  }
  let lastSeq = 0;

  /** Samples numbered from 1, or (`next`) on from the last of any test. */
  function batchOf(
    told: readonly (Partial<Told> & { serverId: string })[],
    { skewMs = 0, incarnation = 'i', next = false } = {},
  ): EventBatch {
    const sentAtMs = Date.now() + skewMs;
    return {
      journalId: 'j',
      incarnation,
      sentAtMs,
      utcOffsetMinutes: 0,
      events: told.map(({ serverId, runId = 'run', ageMs = 0, unresponsiveSeconds }, i) => ({
        serverId: '',
        atMs: sentAtMs - ageMs,
        event: {
          $case: 'sample',
          sample: {
            seq: next ? ++lastSeq : i + 1,
            host: undefined,
            servers: [
              {
                serverId,
                runId,
                cpuPercent: i + 1,
                memoryUsedBytes: 1,
                uptimeSeconds: 1,
                unresponsiveSeconds,
              },
            ],
          },
        },
      })),
    };
  }
});

function startOf(serverId: string) {
  return {
    key: { opId: serverId, step: 'start' },
    serverId,
    epoch: 1,
    opSeq: 1,
    undo: false,
    work: {
      $case: 'start' as const,
      start: {
        settings: { port: 25_565, maxPlayers: 20, eulaAccepted: true },
        memoryMinMb: 1,
        memoryMaxMb: 1,
        javaArgs: [],
        jarFile: 'server.jar',
        javaMajor: 21,
        javaPinned: false,
        readyTimeoutSeconds: 10,
        serverType: 'vanilla',
        leased: false,
      },
    },
  };
}
