import type { OperationInput } from '#src/contracts/workflows.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/** Puts a Java runtime into the agent's own folder. Always retryable: what was downloaded is not fetched again. */
export function installJava(input: OperationInput): Promise<Outcome> {
  return carryOperation(input, {
    async body(run) {
      await run.onAgent('installJava', { title: 'Download, verify and unpack Java' });
    },
  });
}
