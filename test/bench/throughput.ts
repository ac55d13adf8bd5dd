import { startFakeAgent } from '#test/fakeAgent.js';
import { startBareWorker } from './lib/bareWorker.js';
import { median, spreadOf, type Benchmark } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';

const SERVERS = 100;
const ROUNDS = 4;
const CONCURRENCY = 10;

/**
 * Ours: REST requests to an api+worker process, each accepted in Postgres, carried by a workflow (four database steps,
 * one step at an agent that does it at once) and ended in Postgres; counted to the last recorded outcome.
 * Bare: workflows of four local activities and one activity that all do nothing, started from within their worker
 * (eagerly, as ours), without HTTP, Postgres, agent or search attributes; counted to the last activity of the last one.
 * Both run on one Temporal server with the same worker settings, by turns, and either way as many as can at a time.
 */
export const throughput: Benchmark = {
  name: 'throughput',
  about:
    'start and stop operations a second on a scripted agent, against bare workflows of as many activities',
  async measure(say) {
    const agent = await startFakeAgent();
    const installation = await install();
    try {
      const ids = await installation.addServers(agent, SERVERS);
      await installation.start('app');
      const bare = await startBareWorker(installation);
      say('warming up');
      await oursPerSecond(installation, ids);
      await barePerSecond(bare);
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 1; round <= ROUNDS; round++) {
        theirs.push(await barePerSecond(bare));
        ours.push(await oursPerSecond(installation, ids));
        say(`round ${round}: ours ${ours.at(-1)?.toFixed(1)}/s, bare ${theirs.at(-1)?.toFixed(1)}/s`);
      }
      await bare.stop();
      const ratios = ours.map((value, at) => value / (theirs[at] ?? NaN));
      return [
        { name: 'operations, start and stop', value: median(ours), unit: '/s', note: spreadOf(ours) },
        {
          name: 'bare workflows of 4 + 1 activities',
          value: median(theirs),
          unit: '/s',
          note: spreadOf(theirs),
        },
        {
          name: 'operations against bare workflows',
          value: median(ratios),
          unit: '',
          aim: { atLeast: 0.7 },
          note: spreadOf(ratios),
        },
      ];
    } finally {
      await installation.release();
      await agent.stop();
    }
  },
};

/** A start of every server, and when all run a stop of every one. */
async function oursPerSecond({ client, succeeded }: Installation, ids: readonly string[]): Promise<number> {
  const began = performance.now();
  for (const verb of ['start', 'stop'] as const) {
    const operationIds: string[] = [];
    const waiting = [...ids];
    const requesters = Array.from({ length: CONCURRENCY }, async () => {
      for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
        operationIds.push((await client.act(id, verb)).operation.id);
      }
    });
    await Promise.all(requesters);
    await succeeded(operationIds);
  }
  return (2 * ids.length * 1000) / (performance.now() - began);
}

async function barePerSecond(bare: {
  run(count: number, concurrency: number): Promise<number>;
}): Promise<number> {
  const first = await bare.run(SERVERS, CONCURRENCY);
  const second = await bare.run(SERVERS, CONCURRENCY);
  return (2 * SERVERS * 1000) / (first + second);
}
