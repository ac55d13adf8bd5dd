import { proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { HealthActivities } from '#src/contracts/activities.js';
import { TASK_QUEUES } from '#src/contracts/temporal.js';

const { sweepAgents } = proxyActivities<HealthActivities>({
  taskQueue: TASK_QUEUES.health,
  startToCloseTimeout: '25s',
  scheduleToCloseTimeout: '28s',
  heartbeatTimeout: '8s',
});

/** One round of pings over all agents. Started by its schedule; a round that did not run proves nothing. */
export async function healthSweep(): Promise<{ pinged: number; failed: number }> {
  return sweepAgents({ sweepId: workflowInfo().firstExecutionRunId });
}
