import { expect } from 'chai';
import { reportOrphans } from '#activities/lostOperations.js';
import { row, rows } from '#src/db/sql.js';
import type { NotificationRow, OperationRow, ServerRow } from '#src/db/types.js';
import { CRASH_BUDGET } from '#src/domain/crash.js';
import type { OperationKind } from '#src/domain/operation.js';
import { ProcessState } from '#proto/gen/agent.js';
import { buildOperation, buildServer, buildUser } from '../build.js';
import { neverReady, onStart, onWork, startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';

/** From what happens to a process until the server's row says so. */
const SEEN_WITHIN_MS = 2_000;
/** Two rounds of the reconciler, which comes every 2 s here, and the operation that follows. */
const ROUNDS_MS = 10_000;

describe('a server whose process or record goes astray', function () {
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
  const start = async () => {
    expect(await stack.ended((await request('server.start')).id)).to.include({ state: 'succeeded' });
  };
  const serverRow = async () => {
    const found = await row<ServerRow>(stack.db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] });
    if (!found) throw new Error('the server is gone');
    return found;
  };
  const operations = () =>
    rows<OperationRow>(stack.db, 'SELECT * FROM operations WHERE server_id = $1 ORDER BY op_seq', {
      bind: [server],
    });
  const codesOfAlerts = async () => {
    const sql = 'SELECT * FROM notifications WHERE server_id = $1 AND user_id = $2 ORDER BY seq';
    const alerts = await rows<NotificationRow>(stack.db, sql, { bind: [server, user] });
    return alerts.map(({ data }) => data['code']);
  };
  const until = (
    status: ServerRow['status'],
    { timeoutMs = SEEN_WITHIN_MS }: { timeoutMs?: number } = {},
  ): Promise<ServerRow> =>
    waitFor(
      async () => {
        const found = await serverRow();
        return found.status === status && found.current_op_id === null ? found : null;
      },
      { timeoutMs, everyMs: 10, what: `the server to be ${status}` },
    );
  const started = (times: number) =>
    waitFor(() => agent.effects.start[server] === times, { timeoutMs: ROUNDS_MS, what: `start ${times}` });
  /** Every wait after a crash is over at once. */
  const skipWait = () =>
    row(stack.db, 'UPDATE servers SET restart_after = now() WHERE id = $1 RETURNING id', { bind: [server] });

  describe('when the process ends', () => {
    it('of a `stop` typed into its console: stopped, and so it shall be', async () => {
      await start();
      agent.exit(server);
      expect(await until('stopped')).to.include({ desired_state: 'stopped', last_crash: null });
      expect(await codesOfAlerts()).to.deep.equal([]);
    });

    it('of a signal from its host: down within 2 s, and up again at once', async () => {
      await start();
      agent.crash(server, 143);
      const { last_crash } = await until('error');
      expect(last_crash).to.include({ code: 'signal', exit_code: 143 });
      await started(2);
      expect(await until('running', { timeoutMs: ROUNDS_MS })).to.include({
        restart_after: null,
        crash_count: 1,
      });
      expect((await operations()).map(({ kind, trigger }) => `${trigger} ${kind}`)).to.deep.equal([
        'user server.start',
        'reconcile server.stop',
        'reconcile server.start',
      ]);
      expect(await codesOfAlerts()).to.deep.equal(['crash']);
    });

    it('again and again while it boots: later each time, then down with a critical alert, until a user starts it', async () => {
      await start();
      agent.script(onStart({ endsWith: 'start-failed' }));
      agent.crash(server, 1);
      for (let attempt = 1; attempt <= CRASH_BUDGET; attempt++) {
        await started(1 + attempt);
        await until('error', { timeoutMs: ROUNDS_MS });
        if (attempt < CRASH_BUDGET) await skipWait();
      }
      const down = await until('error');
      expect(down).to.include({ restart_after: null, crash_count: CRASH_BUDGET + 1 });
      expect(down.last_crash?.run_id).to.equal(agent.servers.get(server)?.runId);
      const codes = await codesOfAlerts();
      expect(codes).to.deep.equal([...Array<string>(CRASH_BUDGET).fill('crash'), 'crash-loop']);

      agent.clearScript();
      await start();
      expect(await serverRow()).to.include({ status: 'running', crash_count: 0 });
    });

    it('while an operation still works on the server: found when that has ended', async () => {
      await start();
      const jar = { jar_url: 'http://127.0.0.1/server.jar', jar_sha256: '0'.repeat(64) };
      await stack.db.models.Server.update(jar, { where: { id: server } });
      agent.script(onWork('provision', { afterMs: 1_000 }));
      const provision = await request('server.provision');
      await waitFor(async () => (await serverRow()).current_op_id === provision.id, { what: 'it to begin' });
      agent.crash(server, 1);
      expect(await stack.ended(provision.id)).to.include({ state: 'succeeded' });
      await until('error');
    });

    it('with its host: everything that ran is up again after the boot', async () => {
      await start();
      await agent.restart({ rebooted: true });
      await started(2);
      expect(await until('running', { timeoutMs: ROUNDS_MS })).to.include({ crash_count: 0 });
      expect(await codesOfAlerts()).to.deep.equal([]);
    });

    it('while its workers are away: found, told and restarted when they are back', async () => {
      await start();
      agent.goDown();
      agent.crash(server, 1);
      await agent.restart();
      await started(2);
      await until('running', { timeoutMs: ROUNDS_MS });
      expect(await codesOfAlerts()).to.deep.equal(['crash']);
    });
  });

  describe('when Temporal', () => {
    it('was told to terminate a restart between its stop and its start: it runs, as it shall', async () => {
      await start();
      agent.script(onStart({ failTimes: Infinity, code: 'agent-failed' }));
      const restart = await request('server.restart');
      await waitFor(async () => (await serverRow()).status === 'starting', { what: 'the stop to be over' });
      await stack.temporal.workflow.getHandle(restart.workflow_id).terminate('by an operator');
      agent.clearScript();
      await letAge(restart.id);
      expect((await stack.ended(restart.id)).error?.code).to.equal('lost-workflow');
      expect(await until('running', { timeoutMs: ROUNDS_MS })).to.include({ desired_state: 'running' });
    });

    it('has lost the workflow of a running operation: it ends, and the server is looked at', async () => {
      agent.script(neverReady());
      const lost = await request('server.start');
      await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
      await forget(lost.id);
      await letAge(lost.id);
      const { state, error } = await stack.ended(lost.id);
      expect(state).to.equal('failed');
      expect(error).to.include({ code: 'lost-workflow', detail: 'Temporal does not know it' });
      agent.crash(server, 1);
      await until('error');
    });

    it('has lost one that was accepted: it is told again, and the operation succeeds', async () => {
      const { id } = await buildOperation(stack.db, { server_id: server, requested_by: user });
      await letAge(id);
      await row(stack.db, 'UPDATE servers SET current_op_id = $2 WHERE id = $1 RETURNING id', {
        bind: [server, id],
      });
      expect(await stack.ended(id)).to.include({ state: 'succeeded' });
    });
  });

  describe('when the database was restored to before', () => {
    it('the operation: its workflow ends without effect, and what it has begun is ended', async () => {
      agent.script(neverReady());
      const { id, workflow_id } = await request('server.start');
      await waitFor(() => agent.effects.start[server] === 1, { what: 'the process' });
      await row(
        stack.db,
        `WITH gone AS (DELETE FROM operations WHERE id = $2)
         UPDATE servers SET current_op_id = NULL, op_seq = 0, status = 'stopped', status_op_seq = 0,
           desired_state = 'stopped' WHERE id = $1 RETURNING id`,
        { bind: [server, id] },
      );
      await waitFor(async () => (await orphans()) === 1, { everyMs: 10, what: 'the orphan to be seen' });
      await waitFor(() => agent.servers.get(server)?.state === ProcessState.STOPPED, {
        timeoutMs: ROUNDS_MS,
        what: 'the process to be stopped',
      });
      expect(await until('stopped', { timeoutMs: ROUNDS_MS })).to.include({ desired_state: 'stopped' });
      await waitFor(async () => (await orphans()) === 0, { what: 'the workflow to be over' });
      const { status } = await stack.temporal.workflow.getHandle(workflow_id).describe();
      expect(status.name).to.equal('FAILED');
      agent.clearScript();
      await start();
    });
  });

  const orphans = () =>
    reportOrphans({ db: stack.db, logger: stack.core.logger, temporal: async () => stack.temporal.workflow });

  /** A row counts as lost only when its workflow has had the time to appear. */
  async function letAge(id: string): Promise<void> {
    await row(
      stack.db,
      `UPDATE operations SET created_at = created_at - interval '1 minute', started_at = started_at - interval '1 minute'
       WHERE id = $1 RETURNING id`,
      { bind: [id] },
    );
  }

  /** As after a loss of Temporal's data. */
  async function forget(id: string): Promise<void> {
    const { namespace } = stack.temporal.options;
    const handle = stack.temporal.workflow.getHandle(`op:${id}`);
    await stack.temporal.workflowService.deleteWorkflowExecution({
      namespace,
      workflowExecution: { workflowId: `op:${id}` },
    });
    await waitFor(
      () =>
        handle.describe().then(
          () => false,
          () => true,
        ),
      { what: 'Temporal to have forgotten it' },
    );
  }
});
