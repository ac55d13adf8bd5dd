import { expect } from 'chai';
import { SCHEDULES, TASK_QUEUES } from '#src/contracts/temporal.js';
import { row } from '#src/db/sql.js';
import { buildServer, buildUser } from '../build.js';
import { startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';

describe('what grows', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let agent: FakeAgent;
  before(async () => {
    stack = await startTestStack();
    agent = await startFakeAgent();
  });
  after(async () => {
    await stack.stop();
    await agent.stop();
  });

  it('is cut back every day', async () => {
    await row(
      stack.db,
      `CREATE TABLE logs_20200101 PARTITION OF logs FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')`,
    );
    const cut: unknown = await stack.temporal.workflow.execute('maintainPartitions', {
      workflowId: 'maintain-once',
      taskQueue: TASK_QUEUES.workflows,
    });
    expect(cut).to.deep.equal({ made: 0, dropped: 1, busy: [] });
    const schedule = await waitFor(
      () =>
        stack.temporal.schedule
          .getHandle(SCHEDULES.partitions)
          .describe()
          .catch(() => null),
      { what: 'the schedule' },
    );
    expect(schedule.spec.intervals?.[0]?.every).to.equal(86_400_000);
  });

  it('goes with the server that it belongs to, after the recorded end', async () => {
    const agent_id = await stack.register(agent);
    const user_id = (await buildUser(stack.db)).id;
    const { id } = await buildServer(stack.db, { agent_id, user_id });
    const rows = Array.from({ length: 25_000 }, (_, n) => ({ server_id: id, message: `line ${n}` }));
    await stack.db.models.Log.bulkCreate(rows);
    await stack.db.models.ServerMetric.create({ server_id: id });
    const { operation } = await stack.operations.request({
      kind: 'server.delete',
      serverId: id,
      requestedBy: user_id,
      trigger: 'user',
    });
    expect(await stack.ended(operation.id)).to.include({ state: 'succeeded' });
    await stack.temporal.workflow.getHandle(operation.workflow_id).result();
    expect(await stack.db.models.Log.count({ where: { server_id: id } })).to.equal(0);
    expect(await stack.db.models.ServerMetric.count({ where: { server_id: id } })).to.equal(0);
  });
});
