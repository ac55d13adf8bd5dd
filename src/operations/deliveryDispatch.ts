import { WorkflowExecutionAlreadyStartedError, type WorkflowClient } from '@temporalio/client';
import {
  mailWorkflowId,
  TASK_QUEUES,
  webhookWorkflowId,
  WORKFLOW_TASK_TIMEOUT,
} from '#src/contracts/temporal.js';
import type { DeliveryClaim } from '#src/db/deliveries.js';

/** Started twice it is one workflow: a row that was sent is gone, and its id is used once. */
export async function startDelivery(client: WorkflowClient, delivery: DeliveryClaim): Promise<void> {
  const { id, template, request_id } = delivery;
  const options = {
    taskQueue: TASK_QUEUES.workflows,
    workflowIdReusePolicy: 'REJECT_DUPLICATE',
    workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
    memo: { requestId: request_id },
  } as const;
  try {
    if (template === null) {
      const workflowId = webhookWorkflowId(id);
      const staticSummary = 'Webhook';
      await client.start('deliverWebhook', {
        ...options,
        workflowId,
        staticSummary,
        args: [{ deliveryId: id }],
      });
    } else {
      const workflowId = mailWorkflowId(id);
      const staticSummary = `Mail: ${template}`;
      await client.start('deliverNotification', {
        ...options,
        workflowId,
        staticSummary,
        args: [{ mailId: id }],
      });
    }
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}
