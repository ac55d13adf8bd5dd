import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import pino from 'pino';
import { acceptDueRestarts } from '#activities/restarts.js';
import { greet } from '#activities/health.js';
import { reconcileAgent } from '#activities/reconcileAgent.js';
import type { ReconcileDeps } from '#activities/reconcileDeps.js';
import { ProcessState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { createBus } from '#src/bus/createBus.js';
import { beginOperation, transitionServer } from '#src/db/carryOperation.js';
import { finishOperation } from '#src/db/endOperation.js';
import { listAgents } from '#src/db/reconciliation.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow, NotificationRow, OperationRow, ServerRow } from '#src/db/types.js';
import { CRASH_BUDGET } from '#src/domain/crash.js';
import type { ErrorCode } from '#src/domain/errors.js';
import type { OperationKind } from '#src/domain/operation.js';
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { buildAgent, buildServer } from '../build.js';
import { startFakeAgent, type FakeAgent, type RestartOptions } from '../fakeAgent.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';
import { waitFor } from '../harness/waitFor.js';

const logger = pino({ level: 'silent' });

const START = {
  settings: undefined,
  memoryMinMb: 0,
  memoryMaxMb: 0,
  javaArgs: [],
  jarFile: 'server.jar',
  javaMajor: 21,
  javaPinned: false,
  readyTimeoutSeconds: 60,
  serverType: 'vanilla',
  leased: false,
};

describe('reconciling an agent', () => {
  let database: TestDatabase;
  let agent: FakeAgent;
  let agentRow: AgentRow;
  let gateway: AgentGateway;
  let deps: ReconcileDeps;

  before(async () => {
    database = await createTestDatabase();
    const { db } = database;
    agent = await startFakeAgent();
    gateway = createGrpcGateway({ logger, defaultDeadlineMs: 5_000 });
    const { id, host, port } = agent.address;
    await buildAgent(db, { id, ip_address: host, port, tls_mode: 'plaintext' });
    const [registered] = await listAgents(db);
    if (!registered) throw new Error('the agent has no row');
    agentRow = registered;
    const bus = createBus({ redisUrl: undefined, logger });
    const temporal = () => Promise.reject(new Error('no Temporal here'));
    const dispatcher = new Dispatcher({ db, bus, logger, temporal, eager: false, pollMs: 1_000 });
    const operations = createOperations({ db, bus, dispatcher, temporal, logger });
    const sendNow = (ids: readonly string[]) => dispatcher.sendNow(ids);
    const openToken = (sealed: string) => sealed;
    deps = { db, bus, gateway, operations, temporal, sendNow, logger, openToken, leaseTtlMs: 180_000 };
  });
  after(async () => {
    await gateway.close();
    await agent.stop();
    await database.drop();
  });

  /** A gateway on which something happens after the agent has looked, and before we hear what it saw. */
  function lateAnswer(meanwhile: () => Promise<void>): AgentGateway {
    return {
      ...gateway,
      async inspectServers(address, options) {
        const states = await gateway.inspectServers(address, options);
        await meanwhile();
        return states;
      },
    };
  }

  /** All that a start does to the database. */
  async function carryStart(serverId: string): Promise<void> {
    const { db } = database;
    const { operation } = await deps.operations.request({
      kind: 'server.start',
      serverId,
      requestedBy: null,
      trigger: 'user',
    });
    await beginOperation(db, operation.id, 'run');
    await transitionServer(db, { operationId: operation.id, step: 1, event: 'startRequested' });
    await transitionServer(db, { operationId: operation.id, step: 2, event: 'ready' });
    await finishOperation(db, operation.id, { state: 'succeeded' });
  }

  const triggersOf = async (serverId: string) =>
    (
      await rows<{ trigger: string }>(database.db, 'SELECT trigger FROM operations WHERE server_id = $1', {
        bind: [serverId],
      })
    ).map(({ trigger }) => trigger);

  /** The first call after a restart may still meet the connection that died. */
  const restartAgent = async (options: RestartOptions = {}) => {
    await agent.restart(options);
    return waitFor(() => gateway.hello(agent.address), { what: 'the agent to be back' });
  };

  const serverRow = async (id: string): Promise<ServerRow> => {
    const found = await row<ServerRow>(database.db, 'SELECT * FROM servers WHERE id = $1', { bind: [id] });
    if (!found) throw new Error('the server is gone');
    return found;
  };

  /** Runs at the agent, and shall, and we know it. */
  async function buildRunning(overrides: Partial<ServerRow> = {}, opSeq = 1): Promise<ServerRow> {
    const { id } = await buildServer(database.db, {
      agent_id: agentRow.id,
      status: 'running',
      desired_state: 'running',
      op_seq: 1,
      ...overrides,
    });
    await startAtAgent(id, opSeq);
    return serverRow(id);
  }

  async function startAtAgent(serverId: string, opSeq = 1): Promise<void> {
    await gateway.submitWork(agent.address, {
      key: { opId: randomUUID(), step: 'start' },
      serverId,
      epoch: 1,
      opSeq,
      undo: false,
      work: { $case: 'start', start: START },
    });
    await waitFor(() => agent.servers.get(serverId)?.state === ProcessState.RUNNING, { what: 'the process' });
  }

  const alertsOf = ({ id, user_id }: ServerRow) =>
    rows<NotificationRow>(
      database.db,
      'SELECT * FROM notifications WHERE server_id = $1 AND user_id = $2 ORDER BY seq',
      { bind: [id, user_id] },
    );

  it('leaves a server alone that was started between asking and hearing the answer', async () => {
    const { id } = await buildServer(database.db, { agent_id: agentRow.id });
    await reconcileAgent({ ...deps, gateway: lateAnswer(() => carryStart(id)) }, agentRow);
    expect(await triggersOf(id)).to.deep.equal(['user']);
  });

  it('asks nothing about servers that are being worked on, or that were not meant', async () => {
    const worked = await buildServer(database.db, { agent_id: agentRow.id });
    const ended = await buildServer(database.db, { agent_id: agentRow.id, status: 'running' });
    await deps.operations.request({
      kind: 'server.start',
      serverId: worked.id,
      requestedBy: null,
      trigger: 'user',
    });
    const asked = agent.calls.length;
    await reconcileAgent(deps, agentRow, [worked.id]);
    await reconcileAgent(deps, agentRow, ['not an id of ours']);
    expect(agent.calls.length).to.equal(asked);
    expect(await triggersOf(ended.id)).to.deep.equal([]);
    await reconcileAgent(deps, agentRow, [ended.id]);
    expect(await triggersOf(ended.id)).to.deep.equal(['reconcile']);
  });

  describe('finds a crash', () => {
    const CAUSE = {
      code: 'out-of-memory',
      detail: 'It ran out of memory',
      evidence: ['java.lang.OutOfMemoryError: Java heap space'],
      reportPath: 'crash-reports/crash-1.txt',
    };

    it('and in one transaction records it, plans the restart and tells everyone who sees the server', async () => {
      const server = await buildRunning({ name: 'survival' });
      agent.crash(server.id, 1, CAUSE);
      const told: string[] = [];
      const stop = deps.bus.subscribe('notifications', ({ user_id }) => told.push(user_id));
      await reconcileAgent(deps, agentRow, [server.id]);
      const { last_crash, restart_after, crash_count, current_op_id } = await serverRow(server.id);
      const runId = agent.servers.get(server.id)?.runId;
      expect(last_crash).to.deep.include({
        run_id: runId,
        code: 'out-of-memory',
        detail: CAUSE.detail,
        evidence: CAUSE.evidence,
        report_path: CAUSE.reportPath,
        exit_code: 1,
      });
      expect(restart_after).to.be.an.instanceOf(Date);
      expect(crash_count).to.equal(1);
      expect(current_op_id).to.be.a('string');
      const [alert] = await alertsOf(server);
      expect(alert).to.include({ type: 'alert', severity: 'warning', title: 'survival crashed' });
      expect(alert?.data).to.deep.include({ code: 'crash', crash: last_crash });
      await waitFor(() => told.includes(server.user_id), { what: 'the poke' });
      stop();
    });

    it('once, however many look', async () => {
      const server = await buildRunning();
      agent.crash(server.id, 1);
      await Promise.all([1, 2, 3].map(() => reconcileAgent(deps, agentRow, [server.id])));
      expect(await triggersOf(server.id)).to.deep.equal(['reconcile']);
      expect((await serverRow(server.id)).crash_count).to.equal(1);
      expect(await alertsOf(server)).to.have.length(1);
    });

    it('and leaves a server down that is not to restart, and says so', async () => {
      const server = await buildRunning({ auto_restart: false });
      agent.crash(server.id, 1);
      await reconcileAgent(deps, agentRow, [server.id]);
      expect(await serverRow(server.id)).to.include({ restart_after: null, crash_count: 1 });
      expect((await alertsOf(server))[0]?.data).to.include({ code: 'crash', restart_after: null });
    });

    it('too many, and leaves the server down with a critical alert', async () => {
      const server = await buildRunning({
        crash_count: CRASH_BUDGET,
        crash_window_started_at: new Date(Date.now() - 60_000),
      });
      agent.crash(server.id, 1);
      await reconcileAgent(deps, agentRow, [server.id]);
      expect(await serverRow(server.id)).to.include({ restart_after: null, crash_count: CRASH_BUDGET + 1 });
      const [alert] = await alertsOf(server);
      expect(alert).to.include({ severity: 'critical' });
      expect(alert?.data).to.include({ code: 'crash-loop' });
    });

    it('not in a stop that someone typed: the wish follows, and nothing is planned', async () => {
      const server = await buildRunning();
      agent.exit(server.id);
      await reconcileAgent(deps, agentRow, [server.id]);
      expect(await serverRow(server.id)).to.include({
        desired_state: 'stopped',
        restart_after: null,
        last_crash: null,
        crash_count: 0,
      });
      expect(await alertsOf(server)).to.be.empty;
    });
  });

  describe('has planned a restart', () => {
    const crashed = (overrides: Partial<ServerRow> = {}) =>
      buildServer(database.db, {
        agent_id: agentRow.id,
        status: 'error',
        desired_state: 'running',
        restart_after: new Date(Date.now() - 1),
        crash_count: 3,
        crash_window_started_at: new Date(),
        ...overrides,
      });
    const userAsks = (serverId: string, kind: OperationKind) =>
      deps.operations.request({ kind, serverId, requestedBy: null, trigger: 'user' });

    it('and asks for it once, when its time has come', async () => {
      const due = await crashed();
      const later = await crashed({ restart_after: new Date(Date.now() + 60_000) });
      await Promise.all([acceptDueRestarts(deps), acceptDueRestarts(deps)]);
      expect(await triggersOf(due.id)).to.deep.equal(['reconcile']);
      expect(await triggersOf(later.id)).to.deep.equal([]);
      // The budget goes on: nobody but us has asked.
      expect(await serverRow(due.id)).to.include({ restart_after: null, crash_count: 3 });
    });

    const waits: [why: string, overrides: Partial<ServerRow>][] = [
      ['that runs already', { status: 'running' }],
      ['that shall be down', { desired_state: 'stopped' }],
    ];
    for (const [why, overrides] of waits) {
      it(`and asks nothing of a server ${why}`, async () => {
        const server = await crashed(overrides);
        await acceptDueRestarts(deps);
        expect(await triggersOf(server.id)).to.deep.equal([]);
      });
    }

    it('and waits for an agent that is away', async () => {
      const away = await buildAgent(database.db, { status: 'offline' });
      const server = await crashed({ agent_id: away.id });
      await acceptDueRestarts(deps);
      expect(await triggersOf(server.id)).to.deep.equal([]);
    });

    it('which a user’s stop takes back, and a user’s start replaces with a fresh budget', async () => {
      const stopped = await crashed();
      await userAsks(stopped.id, 'server.stop');
      expect(await serverRow(stopped.id)).to.include({ restart_after: null, crash_count: 3 });
      const started = await crashed();
      await userAsks(started.id, 'server.start');
      expect(await serverRow(started.id)).to.include({ restart_after: null, crash_count: 0 });
      await acceptDueRestarts(deps);
      expect(await triggersOf(stopped.id)).to.deep.equal(['user']);
      expect(await triggersOf(started.id)).to.deep.equal(['user']);
    });

    it('which stays planned while something else is done to the server', async () => {
      const server = await crashed();
      const { operation } = await userAsks(server.id, 'server.provision');
      await acceptDueRestarts(deps);
      expect(await triggersOf(server.id)).to.deep.equal(['user']);
      await finishOperation(database.db, operation.id, { state: 'succeeded' });
      await acceptDueRestarts(deps);
      expect(await triggersOf(server.id)).to.deep.equal(['user', 'reconcile']);
    });

    const ends: [what: string, code: ErrorCode, expected: { crash_count: number; alerts: number }][] = [
      ['counts one that fails for the server’s sake', 'start-failed', { crash_count: 4, alerts: 1 }],
      ['does not count one whose agent went away', 'agent-unreachable', { crash_count: 3, alerts: 0 }],
      ['does not count one that got no lease', 'no-lease', { crash_count: 3, alerts: 0 }],
      ['does not count one whose workflow was lost', 'lost-workflow', { crash_count: 3, alerts: 0 }],
    ];
    for (const [what, code, { crash_count, alerts }] of ends) {
      it(`and ${what}, and plans the next`, async () => {
        const server = await crashed();
        await acceptDueRestarts(deps);
        const { current_op_id } = await serverRow(server.id);
        if (current_op_id === null) throw new Error('nothing was accepted');
        const error = { code, detail: 'It did not start' };
        await finishOperation(database.db, current_op_id, { state: 'failed', error });
        const after = await serverRow(server.id);
        expect(after).to.include({ crash_count });
        expect(after.restart_after?.getTime()).to.be.greaterThan(Date.now());
        expect(await alertsOf(server)).to.have.length(alerts);
      });
    }
  });

  describe('hears of a boot of the host', () => {
    const boot = async () => {
      await greet(deps, agentRow, await restartAgent({ rebooted: true }));
    };
    const plannedAfterBoot = async (server: ServerRow) => (await serverRow(server.id)).restart_after !== null;

    it('and brings back what ran, or starts with its host, unless someone has stopped it', async () => {
      await greet(deps, agentRow, await gateway.hello(agent.address));
      const ran = await buildRunning({ crash_count: 4, crash_window_started_at: new Date() });
      const byBoot = await buildRunning({ auto_restart: false, auto_start: true });
      const neither = await buildRunning({ auto_restart: false });
      const down = { agent_id: agentRow.id, status: 'error', desired_state: 'running' } as const;
      const looped = await buildServer(database.db, { ...down, auto_start: true });
      const loopedOnly = await buildServer(database.db, down);
      const stopped = await buildServer(database.db, { agent_id: agentRow.id, auto_start: true });
      await boot();
      await reconcileAgent(deps, agentRow);
      for (const server of [ran, byBoot, looped]) expect(await plannedAfterBoot(server)).to.equal(true);
      for (const server of [neither, loopedOnly, stopped]) {
        expect(await plannedAfterBoot(server)).to.equal(false);
      }
      // A host that went down is nobody's crash, but for a server that will not come back.
      expect(await alertsOf(ran)).to.be.empty;
      expect(await serverRow(ran.id)).to.include({ last_crash: null, crash_count: 0 });
      expect((await alertsOf(neither))[0]?.data).to.include({ code: 'crash', restart_after: null });
      expect((await serverRow(neither.id)).last_crash).to.include({ code: 'unseen' });
    });

    it('only once: an agent that was merely restarted has booted nothing', async () => {
      const server = await buildServer(database.db, {
        agent_id: agentRow.id,
        status: 'error',
        desired_state: 'running',
        auto_start: true,
      });
      await greet(deps, agentRow, await restartAgent());
      expect(await plannedAfterBoot(server)).to.equal(false);
    });
  });

  describe('meets an agent that knows', () => {
    it('higher numbers than a restored database: ours go on from them, in the same round', async () => {
      const server = await buildRunning({ op_seq: 3, status: 'stopped', desired_state: 'stopped' }, 17);
      const found = await reconcileAgent(deps, agentRow, [server.id]);
      expect(found.accepted).to.equal(1);
      const operation = await row<OperationRow>(
        database.db,
        'SELECT * FROM operations WHERE id = (SELECT current_op_id FROM servers WHERE id = $1)',
        { bind: [server.id] },
      );
      expect(operation).to.include({ kind: 'server.stop', op_seq: 18, epoch: 1 });
    });

    it('no higher numbers, but the ones that a user has just been given', async () => {
      const server = await buildRunning({ status: 'starting' });
      const late = lateAnswer(async () => {
        await carryStart(server.id);
        await startAtAgent(server.id, 2);
      });
      await reconcileAgent({ ...deps, gateway: late }, agentRow, [server.id]);
      expect(await serverRow(server.id)).to.include({ op_seq: 2, owner_epoch: 1 });
      expect(await triggersOf(server.id)).to.deep.equal(['user']);
    });

    it('fewer servers than we do: what it has not is not installed, and is not started', async () => {
      const server = await buildRunning();
      await restartAgent({ reinstalled: true });
      await reconcileAgent(deps, agentRow, [server.id]);
      const after = await serverRow(server.id);
      expect(after).to.include({ installed: false, restart_after: null });
      expect(after.last_crash).to.include({ code: 'unseen', run_id: '' });
      expect((await alertsOf(server))[0]?.body).to.include('Install it again');
    });

    it('more servers than we do: they are counted and left alone', async () => {
      await restartAgent({ reinstalled: true });
      const stranger = randomUUID();
      await startAtAgent(stranger);
      const elsewhere = await buildServer(database.db);
      await startAtAgent(elsewhere.id);
      expect((await reconcileAgent(deps, agentRow)).strangers).to.equal(2);
      expect(agent.servers.get(stranger)?.state).to.equal(ProcessState.RUNNING);
      expect(await triggersOf(elsewhere.id)).to.deep.equal([]);
    });
  });
});
