import type { OperationInput } from '#src/contracts/workflows.js';
import { markUpgraded } from './lib/activities.js';
import { carryOperation, type Outcome } from './lib/carryOperation.js';

/**
 * Gives a server another type or version, newer or older. Everything is got ready beside the old one while that plays
 * on; then it stops, its whole folder is kept as it is, and the new one has to start. Where it does not become ready, or
 * someone cancels, the folder is put back, world and all, and the old one starts again. A server that shall be stopped
 * is started for that proof only.
 */
export function upgradeServer(input: OperationInput): Promise<Outcome> {
  const { operationId } = input;
  return carryOperation(input, {
    async body(run) {
      await run.onAgent('stage', {
        title: 'Download and verify, beside the old one',
        undoBy: 'discard',
        upgraded: true,
      });
      await run.transition('stopRequested');
      await run.onAgentToTheEnd('stop', { title: 'Stop and wait until ended', undoBy: 'start' });
      await run.transition('stopped');
      await run.onAgent('snapshot', { title: 'Keep the old one, world and all', undoBy: 'revert' });
      await run.onAgent('provision', { title: 'Put the new one in place', upgraded: true });
      await run.transition('startRequested');
      await run.onAgent('start', { title: 'Start and wait until ready', undoBy: 'stop', upgraded: true });
      await run.transition('ready');
      await run.record('Note type and version', () => markUpgraded({ operationId }));
      run.settle();

      await run.tidyOnAgent('discard', { title: 'Remove the old one' });
      if (await run.shallRun()) return;
      await run.transition('stopRequested');
      const ended = await run.tidyOnAgent('stop', { title: 'Stop it again', step: 'stop-again' });
      if (ended) await run.transition('stopped');
    },
  });
}
