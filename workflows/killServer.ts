import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** SIGKILL, without waiting for whatever else is being done to the server. */
export function killServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    failed: 'stopFailed',
    async body(run) {
      await run.onAgentToTheEnd('kill', { title: 'Kill the process' });
      await run.transition('killed');
    },
  });
}
