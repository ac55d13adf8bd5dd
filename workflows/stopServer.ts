import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** Stops a server: console, then SIGTERM, then SIGKILL. Once told, a stop can't be taken back. */
export function stopServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    failed: 'stopFailed',
    async body(run) {
      await run.transition('stopRequested');
      const after = await run.onAgentToTheEnd('stop', { title: 'Stop and wait until ended' });
      // The reconciler asks for a stop to record what it saw; a person who stops a crashed server has seen it.
      const crashed = run.trigger === 'reconcile' && after.process === 'crashed';
      await run.transition(crashed ? 'observedCrashed' : 'stopped');
    },
  });
}
