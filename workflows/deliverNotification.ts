import { proxyActivities } from '@temporalio/workflow';
import type { MailActivities } from '#src/contracts/activities.js';

const { sendMail } = proxyActivities<MailActivities>({
  startToCloseTimeout: '15s',
  scheduleToCloseTimeout: '24h',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '5m' },
});

/** Sends one mail, for as long as its server takes to take it. What it says is made with each attempt. */
export async function deliverNotification(input: { mailId: string }): Promise<void> {
  await sendMail(input);
}
