/** The names that api, worker, operators' saved queries and committed histories share. Renaming one is a migration. */

export const TASK_QUEUES = {
  /** Workflows, database steps and agent control calls: one queue, so that eager dispatch can work. */
  workflows: 'aymc-workflows',
  /** Long downloads and uploads, few slots. */
  transfer: 'aymc-transfer',
  /** Pings; never behind user work. */
  health: 'aymc-health',
  /** Long streams from agents. */
  links: 'aymc-links',
} as const;

export const SEARCH_ATTRIBUTES = {
  serverId: 'AymcServerId',
  agentId: 'AymcAgentId',
  userId: 'AymcUserId',
  kind: 'AymcOpKind',
  outcome: 'AymcOutcome',
  trigger: 'AymcTrigger',
  needsOperator: 'AymcNeedsOperator',
  epoch: 'AymcEpoch',
} as const;

export const SCHEDULES = {
  reconcile: (shard: number) => `reconcile:${shard}`,
  health: (shard: number) => `health:${shard}`,
  partitions: 'partitions',
} as const;

const OPERATION_PREFIX = 'op:';

export function operationWorkflowId(operationId: string): string {
  return OPERATION_PREFIX + operationId;
}

/** Null for a workflow that carries no operation. */
export function operationIdOf(workflowId: string): string | null {
  return workflowId.startsWith(OPERATION_PREFIX) ? workflowId.slice(OPERATION_PREFIX.length) : null;
}

/** Streams that one activity keeps open at most. */
export const AGENTS_A_LINK = 250;

export function agentLinkWorkflowId(shard: number): string {
  return `agent-link:${shard}`;
}

export function mailWorkflowId(mailId: string): string {
  return `mail:${mailId}`;
}

export function webhookWorkflowId(deliveryId: string): string {
  return `webhook:${deliveryId}`;
}

/** With the defaults a workflow whose worker was killed went on after 18.6 s, with these after 9.8 s. */
export const WORKFLOW_TASK_TIMEOUT = '4s';
export const STICKY_QUEUE_TIMEOUT = '2s';
