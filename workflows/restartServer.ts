import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** Stop, then start. A cancel between the two leaves the server stopped. */
export function restartServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    failed: 'startFailed',
    async body(run) {
      await run.transition('stopRequested');
      await run.onAgentToTheEnd('stop', { title: 'Stop and wait until ended' });
      await run.transition('stopped');
      await run.transition('startRequested');
      await run.onAgent('start', { title: 'Start and wait until ready', undoBy: 'stop' });
      await run.transition('ready');
    },
  });
}
