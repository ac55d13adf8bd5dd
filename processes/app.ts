/** api and worker in one process: what `npm start` supervises, and enough for one home server. */
import { createOperations } from '#src/operations/createOperations.js';
import { startApi } from './parts/api.js';
import { startProcess } from './parts/start.js';
import { startAutoStartServers, stopAllServers } from './parts/stopServers.js';
import { installTemporalRuntime, startWorker } from './parts/worker.js';

const STOP_SERVERS_MS = 46_000;

await startProcess('aymc', { deadlineMs: 75_000 }, async core => {
  const { config, db, bus, logger, shutdown } = core;
  installTemporalRuntime(logger);
  const { temporal, dispatcher } = startWorker(core);
  const operations = createOperations({
    db,
    bus,
    dispatcher,
    logger,
    temporal: async () => (await temporal.client()).workflow,
  });
  await startApi(core, { operations, temporal, alone: true });
  await startAutoStartServers(core, operations);
  // Added last, so done first, while everything still runs. A SIGHUP means: leave the servers alone.
  shutdown.add(
    'minecraft servers',
    ({ reason, signal }) =>
      config.dev.stopServersOnExit && (reason === 'SIGINT' || reason === 'SIGTERM')
        ? stopAllServers(core, operations, signal)
        : undefined,
    { timeoutMs: STOP_SERVERS_MS },
  );
});
