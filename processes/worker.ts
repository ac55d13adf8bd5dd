/** Workflows, activities, dispatcher and links, without an API. */
import { startProcess } from './parts/start.js';
import { installTemporalRuntime, startWorker } from './parts/worker.js';

await startProcess('worker', { deadlineMs: 30_000 }, async core => {
  installTemporalRuntime(core.logger);
  startWorker(core);
});
