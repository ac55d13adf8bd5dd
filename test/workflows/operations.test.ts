import { expect } from 'chai';
import type { OperationKind } from '#src/domain/operation.js';
import { findOperation, listOperationEvents } from '#src/db/operationQueries.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import { buildServer, buildUser } from '../build.js';
import {
  loseReply,
  neverReady,
  onStart,
  onStop,
  refuse,
  startFakeAgent,
  type FakeAgent,
} from '../fakeAgent.js';
import { rejectionCode } from '../harness/rejection.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';

describe('operations carried by workflows', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let agent: FakeAgent;
  let agentId: string;
  let user: string;
  let server: string;

  before(async () => {
    stack = await startTestStack();
    agent = await startFakeAgent({ token: 'fake-agent-token' });
    agentId = await stack.register(agent);
    user = (await buildUser(stack.db)).id;
  });
  beforeEach(async () => {
    agent.clearScript();
    server = (await buildServer(stack.db, { user_id: user, agent_id: agentId })).id;
  });
  after(async () => {
    await stack.stop();
    await agent.stop();
  });

  const request = async (kind: OperationKind) => {
    const { operation } = await stack.operations.request({
      kind,
      serverId: server,
      requestedBy: user,
      trigger: 'user',
    });
    return operation;
  };
  const run = async (kind: OperationKind) => stack.ended((await request(kind)).id);
  const serverRow = async () => {
    const found = await row<ServerRow>(stack.db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] });
    if (!found) throw new Error('the server is gone');
    return found;
  };
  const eventTypes = async (id: string) =>
    (await listOperationEvents(stack.db, id, 0, 100)).map(event => event.data.status ?? event.type);

  it('start a server and show each step', async () => {
    const operation = await run('server.start');
    expect(operation).to.include({ state: 'succeeded', error: null });
    const types = await eventTypes(operation.id);
    expect(types.filter(type => type !== 'progressed')).to.deep.equal([
      'accepted',
      'started',
      'starting',
      'running',
      'succeeded',
    ]);
    expect(await serverRow()).to.include({
      status: 'running',
      current_op_id: null,
      desired_state: 'running',
    });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('start a running server and stop a stopped one at once, without an effect', async () => {
    expect(await run('server.stop')).to.include({ state: 'succeeded' });
    await run('server.start');
    expect(await run('server.start')).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('go on when the agent fails twice and then boots', async () => {
    agent.script(onStart({ failTimes: 2, code: 'agent-failed', thenReadyAfterMs: 300 }));
    expect(await run('server.start')).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('take effect once when replies are lost after the effect', async () => {
    agent.script(loseReply(3));
    expect(await run('server.start')).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('end both a start and the stop that races it: the last one wins', async () => {
    agent.script(neverReady());
    const start = await request('server.start');
    await waitFor(async () => (await serverRow()).status === 'starting', {
      what: 'the start to be under way',
    });
    const stop = await request('server.stop');
    expect(await stack.ended(stop.id)).to.include({ state: 'succeeded' });
    const ended = await stack.ended(start.id);
    expect(ended).to.include({ state: 'cancelled', superseded_by: stop.id });
    expect(ended.error?.code).to.equal('superseded');
    expect((await serverRow()).status).to.equal('stopped');
  });

  it('undo a start that its user cancels', async () => {
    agent.script(neverReady());
    const start = await request('server.start');
    await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
    await stack.operations.cancel(start.id, { userId: user });
    const ended = await stack.ended(start.id);
    expect(ended.state).to.equal('cancelled');
    expect(ended.error?.code).to.equal('cancelled');
    expect((await serverRow()).status).to.equal('stopped');
    expect(agent.servers.get(server)?.state).not.to.equal('RUNNING');
  });

  it('let a kill through while a stop hangs', async () => {
    await run('server.start');
    agent.script(onStop({ afterMs: 60_000 }));
    const stop = await request('server.stop');
    await waitFor(async () => (await serverRow()).status === 'stopping', {
      what: 'the stop to be under way',
    });
    const kill = await request('server.kill');
    expect(await stack.ended(kill.id)).to.include({ state: 'succeeded' });
    expect(await stack.ended(stop.id)).to.include({ state: 'cancelled', superseded_by: kill.id });
    expect((await serverRow()).status).to.equal('stopped');
  });

  it('restart: stop, then start', async () => {
    await run('server.start');
    expect(await run('server.restart')).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(2);
    expect((await serverRow()).status).to.equal('running');
  });

  it('fail with the agent’s reason, leave nothing behind, and can be tried again', async () => {
    agent.script(onStart({ failTimes: 1, code: 'java-missing' }));
    const failed = await run('server.start');
    expect(failed.state).to.equal('failed');
    expect(failed.error?.code).to.equal('java-missing');
    expect((await serverRow()).status).to.equal('error');
    agent.clearScript();
    expect(await run('server.start')).to.include({ state: 'succeeded' });
  });

  it('undo a start that may have happened, and say so', async () => {
    agent.script(onStart({ endsWith: 'outcome-unknown' }));
    const operation = await run('server.start');
    expect(operation.state).to.equal('compensated');
    expect(operation.error?.code).to.equal('outcome-unknown');
    expect((await serverRow()).status).to.equal('error');
  });

  it('delete the server and its row, and keep the operation', async () => {
    await run('server.start');
    const operation = await run('server.delete');
    expect(operation.state).to.equal('succeeded');
    expect(await row(stack.db, 'SELECT id FROM servers WHERE id = $1', { bind: [server] })).to.equal(
      undefined,
    );
    expect(agent.servers.get(server)?.state).not.to.equal('RUNNING');
  });

  it('close the row of an operation whose workflow was terminated, and find out what the server does', async () => {
    agent.script(neverReady());
    const start = await request('server.start');
    await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
    await stack.temporal.workflow.getHandle(start.workflow_id).terminate('by an operator');
    const ended = await stack.ended(start.id, 40_000);
    expect(ended).to.include({ state: 'failed' });
    expect(ended.error?.code).to.equal('lost-workflow');
    expect((await serverRow()).current_op_id).to.equal(null);
  });

  it('restart a server that crashed, as an operation of its own', async () => {
    await run('server.start');
    agent.crash(server, 1);
    await waitFor(() => agent.effects.start[server] === 2, { timeoutMs: 20_000, what: 'the restart' });
    await waitFor(async () => (await serverRow()).status === 'running', { what: 'the recorded restart' });
    const last = await row<{ trigger: string; kind: string }>(
      stack.db,
      'SELECT trigger, kind FROM operations WHERE server_id = $1 ORDER BY op_seq DESC LIMIT 1',
      { bind: [server] },
    );
    expect(last).to.deep.equal({ trigger: 'reconcile', kind: 'server.start' });
  });

  it('survive a worker that is stopped midway', async () => {
    agent.script(onStart({ thenReadyAfterMs: 3_000 }));
    const start = await request('server.start');
    await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
    await stack.restartWorker();
    expect(await stack.ended(start.id, 30_000)).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('wait for an agent that is away, and end when it is back', async () => {
    agent.goDown();
    const start = await request('server.start');
    await waitFor(async () => (await serverRow()).status === 'starting', {
      what: 'the start to be under way',
    });
    await agent.restart();
    expect(await stack.ended(start.id, 30_000)).to.include({ state: 'succeeded' });
    expect(agent.effects.start[server]).to.equal(1);
  });

  it('rest with an operator when the undo fails, and end when it is resolved', async () => {
    // The agent does not hear the cancel, and then can't stop what it started.
    const deaf = refuse('agent-failed', { method: 'cancelWork' });
    agent.script(neverReady(), onStop({ endsWith: 'stop-failed' }), deaf);
    const start = await request('server.start');
    await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
    await stack.operations.cancel(start.id, { userId: user });
    const resting = await waitFor(
      async () => {
        const operation = await findOperation(stack.db, start.id);
        return operation?.state === 'needs_operator' ? operation : null;
      },
      { timeoutMs: 20_000, what: 'the operation to rest' },
    );
    expect(resting).to.include({ finished_at: null });
    expect(await rejectionCode(request('server.start'))).to.equal('needs-operator');
    agent.clearScript();
    await stack.operations.resolve(start.id, { action: 'retry', note: 'fixed the host', by: user });
    expect(await stack.ended(start.id)).to.include({ state: 'cancelled' });
    expect((await serverRow()).status).to.equal('stopped');
  });

  it('show operators what they are, whose, and how they ended', async () => {
    const { operation } = await stack.operations.request({
      kind: 'server.stop',
      serverId: server,
      requestedBy: user,
      trigger: 'user',
    });
    expect(operation.state).to.equal('accepted');
    expect(await stack.ended(operation.id)).to.include({ state: 'succeeded' });
    const workflow = stack.temporal.workflow.getHandle(operation.workflow_id);
    // The row ends before the workflow does.
    expect(await workflow.result()).to.equal('succeeded');
    const { taskQueue, searchAttributes, memo } = await workflow.describe();
    expect(taskQueue).to.equal('aymc-workflows');
    expect(memo).to.include({ opId: operation.id, requestedBy: user });
    expect(searchAttributes).to.deep.include({
      AymcServerId: [server],
      AymcOpKind: ['server.stop'],
      AymcOutcome: ['succeeded'],
    });
  });
});
