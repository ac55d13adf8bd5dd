import { proxyActivities } from '@temporalio/workflow';
import type { ReconcileActivities } from '#src/contracts/activities.js';

const { closeLostOperations, reconcileAgents } = proxyActivities<ReconcileActivities>({
  startToCloseTimeout: '2m',
  scheduleToCloseTimeout: '5m',
  heartbeatTimeout: '10s',
  retry: { maximumInterval: '10s' },
});

/** Compares what Temporal, Postgres and the agents say, and mends by operations. Started by its schedule. */
export async function reconcile(): Promise<{ closed: number; accepted: number }> {
  const { closed } = await closeLostOperations();
  const { accepted } = await reconcileAgents();
  return { closed, accepted };
}
