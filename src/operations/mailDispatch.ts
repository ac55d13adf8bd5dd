import { WorkflowExecutionAlreadyStartedError, type WorkflowClient } from '@temporalio/client';
import { mailWorkflowId, TASK_QUEUES, WORKFLOW_TASK_TIMEOUT } from '#src/contracts/temporal.js';
import type { MailClaim } from '#src/db/mails.js';

/** Started twice it is one workflow: a row that was sent is gone, and its id is used once. */
export async function startDelivery(client: WorkflowClient, mail: MailClaim): Promise<void> {
  try {
    await client.start('deliverNotification', {
      workflowId: mailWorkflowId(mail.id),
      taskQueue: TASK_QUEUES.workflows,
      args: [{ mailId: mail.id }],
      workflowIdReusePolicy: 'REJECT_DUPLICATE',
      workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
      staticSummary: `Mail: ${mail.template}`,
      memo: { requestId: mail.request_id },
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}
