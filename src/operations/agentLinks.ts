import type { WorkflowClient } from '@temporalio/client';
import {
  AGENTS_A_LINK,
  agentLinkWorkflowId,
  TASK_QUEUES,
  WORKFLOW_TASK_TIMEOUT,
} from '#src/contracts/temporal.js';

/** Starts the links that are missing for so many agents; at least one, for the first agent to be. Idempotent. */
export async function ensureAgentLinks(client: WorkflowClient, agents: number): Promise<void> {
  const links = Math.max(1, Math.ceil(agents / AGENTS_A_LINK));
  for (let shard = 0; shard < links; shard += 1) {
    await client.start('agentLink', {
      workflowId: agentLinkWorkflowId(shard),
      taskQueue: TASK_QUEUES.workflows,
      workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `Follow the agents of shard ${shard}`,
      args: [{ shard }],
    });
  }
}
