import type { OperationInput } from '#src/contracts/workflows.js';
import { markInstalled } from './lib/activities.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/**
 * Fetches and verifies the server's artefact and writes the files of a first start. `installed` comes last, so half an
 * install never counts as one. Always retryable: what is already there is not fetched again.
 */
export function provisionServer(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    async body(run) {
      await run.onAgent('provision', { title: 'Download, verify and put in place' });
      await run.record('Mark as installed', () => markInstalled({ operationId: run.operationId }));
    },
  });
}
