import { proxyActivities, proxyLocalActivities } from '@temporalio/workflow';

/** As in `workflows/lib/activities.ts`: what the two cost is compared, so nothing else may differ. */
const { step } = proxyLocalActivities({
  startToCloseTimeout: '2s',
  localRetryThreshold: '2s',
  scheduleToCloseTimeout: '10m',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '5s' },
});

const { work } = proxyActivities({
  startToCloseTimeout: '3m',
  scheduleToCloseTimeout: '10m',
  heartbeatTimeout: '5s',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '5s' },
});

/** Begin, transition, work at the agent, transition, finish: the activities of a start or a stop, doing nothing. */
export async function bareOperation() {
  await step(false);
  await step(false);
  await work();
  await step(false);
  await step(true);
}
