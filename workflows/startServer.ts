import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** Starts a server and ends when its console says that it is ready. Of a running server: succeeds at once. */
export function startServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    failed: 'startFailed',
    async body(run) {
      await run.transition('startRequested');
      await run.onAgent('start', { title: 'Start and wait until ready', undoBy: 'stop' });
      await run.transition('ready');
    },
  });
}
