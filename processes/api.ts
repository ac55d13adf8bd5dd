/** REST and sockets, without a worker. Run as many as you like. */
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { startApi } from './parts/api.js';
import { startProcess } from './parts/start.js';
import { lazyTemporal } from './parts/temporalLink.js';

const OUTBOX_POLL_MS = 1_000;

await startProcess('api', { deadlineMs: 15_000 }, async core => {
  const { config, db, bus, logger, shutdown } = core;
  const temporal = lazyTemporal(config);
  shutdown.add('temporal connection', () => temporal.close());
  const workflows = async () => (await temporal.client()).workflow;
  // Workers watch the outbox; this one only sends what this api has just accepted.
  const dispatcher = new Dispatcher({
    db,
    bus,
    logger,
    temporal: workflows,
    eager: false,
    pollMs: OUTBOX_POLL_MS,
  });
  shutdown.add('dispatcher', () => dispatcher.stop());
  const operations = createOperations({ db, bus, dispatcher, logger, temporal: workflows });
  await startApi(core, { operations, temporal, alone: false });
});
