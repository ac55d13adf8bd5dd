import { isCancellation, proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type { WebhookActivities } from '#src/contracts/activities.js';

const { callWebhook } = proxyActivities<WebhookActivities>({
  startToCloseTimeout: '20s',
  scheduleToCloseTimeout: '24h',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15m' },
});

const { buryDelivery } = proxyLocalActivities<WebhookActivities>({
  startToCloseTimeout: '5s',
  scheduleToCloseTimeout: '1d',
  localRetryThreshold: '2s',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '1m' },
});

/** Calls one webhook, for a day at most. What was not taken by then counts against it. */
export async function deliverWebhook(input: { deliveryId: string }): Promise<void> {
  try {
    await callWebhook(input);
  } catch (error) {
    if (isCancellation(error)) throw error;
    await buryDelivery(input);
  }
}
