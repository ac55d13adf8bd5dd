import { continueAsNew, proxyActivities } from '@temporalio/workflow';
import type { LinkActivities } from '#src/contracts/activities.js';
import { TASK_QUEUES } from '#src/contracts/temporal.js';

const { followAgents } = proxyActivities<LinkActivities>({
  taskQueue: TASK_QUEUES.links,
  startToCloseTimeout: '24h',
  heartbeatTimeout: '5s',
  retry: { initialInterval: '200ms', maximumInterval: '5s' },
});

/** Keeps one owner for the event streams of a shard of agents, whichever worker dies. Endless. */
export async function agentLink(input: { shard: number }): Promise<void> {
  await followAgents(input);
  await continueAsNew<typeof agentLink>(input);
}
