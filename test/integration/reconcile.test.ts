import { expect } from 'chai';
import pino from 'pino';
import { reconcileAgent } from '#activities/reconcileAgent.js';
import type { ReconcileDeps } from '#activities/reconcileDeps.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { createBus } from '#src/bus/createBus.js';
import { beginOperation, transitionServer } from '#src/db/carryOperation.js';
import { finishOperation } from '#src/db/endOperation.js';
import { listAgents } from '#src/db/reconciliation.js';
import { rows } from '#src/db/sql.js';
import type { AgentRow } from '#src/db/types.js';
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { buildAgent, buildServer } from '../build.js';
import { startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';

const logger = pino({ level: 'silent' });

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
    const [row] = await listAgents(db);
    if (!row) throw new Error('the agent has no row');
    agentRow = row;
    const bus = createBus({ redisUrl: undefined, logger });
    const temporal = () => Promise.reject(new Error('no Temporal here'));
    const dispatcher = new Dispatcher({ db, bus, logger, temporal, eager: false, pollMs: 1_000 });
    const operations = createOperations({ db, bus, dispatcher, temporal, logger });
    const sendNow = (ids: readonly string[]) => dispatcher.sendNow(ids);
    deps = { db, bus, gateway, operations, temporal, sendNow, logger, openToken: sealed => sealed };
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

  it('records the end of one that nothing was asked of', async () => {
    const { id } = await buildServer(database.db, {
      agent_id: agentRow.id,
      status: 'running',
      desired_state: 'running',
    });
    await reconcileAgent(deps, agentRow);
    expect(await triggersOf(id)).to.deep.equal(['reconcile']);
  });
});
