import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** Stops the server, removes its folder from the agent, then its row. The operation and its events outlive it. */
export function deleteServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    failed: 'stopFailed',
    deleteServer: true,
    async body(run) {
      await run.transition('stopRequested');
      await run.onAgentToTheEnd('delete', { title: 'Stop and remove the folder' });
      await run.transition('stopped');
    },
  });
}
