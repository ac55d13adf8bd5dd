import { defineSearchAttributeKey, SearchAttributeType, TypedSearchAttributes } from '@temporalio/common';
import type { WorkflowStartOptions } from '@temporalio/client';
import {
  SEARCH_ATTRIBUTES,
  TASK_QUEUES,
  WORKFLOW_TASK_TIMEOUT,
  operationWorkflowId,
} from '#src/contracts/temporal.js';
import { WORKFLOW_TYPES } from '#src/contracts/workflows.js';
import type { Dispatch } from '#src/db/outbox.js';
import { AppError } from '#src/domain/errors.js';
import type { OperationKind } from '#src/domain/operation.js';

/** What the operator reads in the list of workflows. */
const VERBS: Record<OperationKind, string> = {
  'server.provision': 'Provision',
  'server.start': 'Start',
  'server.stop': 'Stop',
  'server.restart': 'Restart',
  'server.kill': 'Kill',
  'server.delete': 'Delete',
  'server.move': 'Move',
  'server.failover': 'Fail over',
  'server.upgrade': 'Upgrade',
  'backup.create': 'Back up',
  'backup.restore': 'Restore a backup of',
  'backup.delete': 'Delete a backup of',
  'backup.verify': 'Verify a backup of',
  'plugin.install': 'Install a plugin on',
  'plugin.update': 'Update a plugin of',
  'plugin.remove': 'Remove a plugin from',
  'plugin.enable': 'Enable a plugin of',
  'plugin.disable': 'Disable a plugin of',
  'agent.drain': 'Drain',
  'agent.install_java': 'Install Java on',
};

export function workflowTypeOf(kind: OperationKind): string {
  const type = WORKFLOW_TYPES[kind];
  if (type === null) throw new AppError('internal', { detail: `No workflow carries ${kind}` });
  return type;
}

/** Everything Temporal gets about an operation: ids and names, never parameters and never secrets. */
export function workflowStartOptions(op: Dispatch, eager: boolean): WorkflowStartOptions {
  const what = op.server_name === null ? '' : ` "${op.server_name}"`;
  const where = op.agent_name === null ? '' : ` on agent ${op.agent_name}`;
  const keyword = (name: string, value: string | null) =>
    value === null ? [] : [{ key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD), value }];
  return {
    workflowId: operationWorkflowId(op.id),
    taskQueue: TASK_QUEUES.workflows,
    args: [{ operationId: op.id }],
    workflowIdReusePolicy: 'REJECT_DUPLICATE',
    workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
    staticSummary: `${VERBS[op.kind]}${what}${where}`,
    memo: { opId: op.id, requestedBy: op.requested_by, requestId: op.request_id },
    typedSearchAttributes: new TypedSearchAttributes([
      ...keyword(SEARCH_ATTRIBUTES.kind, op.kind),
      ...keyword(SEARCH_ATTRIBUTES.trigger, op.trigger),
      ...keyword(SEARCH_ATTRIBUTES.serverId, op.server_id),
      ...keyword(SEARCH_ATTRIBUTES.agentId, op.agent_id),
      ...keyword(SEARCH_ATTRIBUTES.userId, op.requested_by),
      {
        key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.epoch, SearchAttributeType.INT),
        value: op.epoch,
      },
    ]),
    requestEagerStart: eager,
  };
}
