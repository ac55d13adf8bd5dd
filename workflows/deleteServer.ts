import { CancellationScope, patched, proxyActivities } from '@temporalio/workflow';
import type { RetentionActivities } from '#src/contracts/activities.js';
import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

const { removeServerTelemetry } = proxyActivities<RetentionActivities>({
  startToCloseTimeout: '12h',
  scheduleToCloseTimeout: '7d',
  heartbeatTimeout: '1m',
  retry: { maximumInterval: '5m' },
  summary: 'Remove console history and metrics',
});

/**
 * Stops the server, removes its folder from the agent, then its row. The operation and its events outlive it. What it
 * has printed and measured goes after the recorded end: nobody waits for that.
 */
export async function deleteServer(input: OperationInput): Promise<Outcome> {
  const outcome = await carryOperation(input, {
    failed: 'stopFailed',
    deleteServer: true,
    async body(run) {
      await run.transition('stopRequested');
      await run.onAgentToTheEnd('delete', { title: 'Stop and remove the folder' });
      await run.transition('stopped');
    },
  });
  if (outcome === 'succeeded' && patched('remove-telemetry')) {
    await CancellationScope.nonCancellable(() => removeServerTelemetry(input));
  }
  return outcome;
}
