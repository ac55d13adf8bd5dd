import { startFakeAgent } from '#test/fakeAgent.js';
import { median, percentile, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';

const WARM_UPS = 30;
const REQUESTS = 200;
const CATCH_UP_MS = 120_000;

/**
 * One request at a time, each on a server of its own. While Temporal is up the next waits for the end of the operation
 * before it, so that what is measured is the accept transaction and not the work of others.
 */
export const accept: Benchmark = {
  name: 'accept',
  about: 'POST /servers/:id/start → 202, over HTTP, with Temporal up and stopped',
  async measure(say) {
    const agent = await startFakeAgent();
    const installation = await install();
    try {
      const ids = await installation.addServers(agent, WARM_UPS + 2 * REQUESTS);
      await installation.start('app');
      await requestEach(installation, ids.splice(0, WARM_UPS), { wait: true });

      say(`${REQUESTS} requests with Temporal up`);
      const read = await readEach(installation, ids.slice(0, REQUESTS));
      const up = await requestEach(installation, ids.splice(0, REQUESTS), { wait: true });
      say(`${REQUESTS} requests with Temporal stopped`);
      await installation.stopTemporal();
      const down = await requestEach(installation, ids, { wait: false });
      await installation.startTemporal();
      const began = performance.now();
      await installation.succeeded(down.operationIds, CATCH_UP_MS);
      const caughtUpMs = performance.now() - began;
      return [
        {
          name: 'GET /servers/:id, for comparison: p50',
          value: median(read),
          unit: 'ms',
          note: spreadOf(read),
        },
        ...latencies('accept → 202, Temporal up', up.tookMs),
        ...latencies('accept → 202, Temporal stopped', down.tookMs),
        {
          name: `Temporal back → all ${REQUESTS} accepted meanwhile have ended`,
          value: caughtUpMs / 1000,
          unit: 's',
        },
      ];
    } finally {
      await installation.release();
      await agent.stop();
    }
  },
};

interface Requested {
  tookMs: number[];
  operationIds: string[];
}

async function requestEach(
  { client, succeeded }: Installation,
  serverIds: readonly string[],
  { wait }: { wait: boolean },
): Promise<Requested> {
  const requested: Requested = { tookMs: [], operationIds: [] };
  for (const id of serverIds) {
    const { operation, tookMs } = await client.act(id, 'start');
    requested.tookMs.push(tookMs);
    requested.operationIds.push(operation.id);
    if (wait) await succeeded([operation.id]);
  }
  return requested;
}

/** A read through the same middleware, so that the price of HTTP and sign-in shows. */
async function readEach({ client }: Installation, serverIds: readonly string[]): Promise<number[]> {
  const took: number[] = [];
  for (const id of serverIds) {
    const { status, tookMs } = await client.send('GET', `/api/v1/servers/${id}`);
    if (status !== 200) throw new Error(`reading a server answered ${status}`);
    took.push(tookMs);
  }
  return took;
}

function latencies(name: string, samples: readonly number[]): Figure[] {
  return [
    { name: `${name}: p50`, value: percentile(samples, 0.5), unit: 'ms', note: spreadOf(samples) },
    { name: `${name}: p95`, value: percentile(samples, 0.95), unit: 'ms' },
  ];
}
