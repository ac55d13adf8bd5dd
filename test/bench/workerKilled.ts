import { setTimeout as sleep } from 'node:timers/promises';
import { rows } from '#src/db/sql.js';
import { onStart, startFakeAgent } from '#test/fakeAgent.js';
import { median, spreadOf, type Benchmark } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';

const KILLS = 6;
const OPERATIONS = 8;
/** Between two requests, so that the kill meets operations at every stage. */
const APART_MS = 40;
const BOOT_MS = 1_000;

/**
 * Two workers share the work; one is killed (−9) while eight starts are under way at different stages, and is missing
 * until all have ended. What counts is the operation that waits longest for its next event.
 */
export const workerKilled: Benchmark = {
  name: 'worker-killed',
  about: 'one of two workers is killed −9 → every operation goes on with the other',
  async measure(say) {
    const agent = await startFakeAgent({ script: [onStart({ thenReadyAfterMs: BOOT_MS })] });
    const installation = await install();
    try {
      const ids = await installation.addServers(agent, OPERATIONS);
      await installation.start('api');
      const workers = [await installation.start('worker'), await installation.start('worker')];
      await carryAll(installation, ids, 'start');
      await carryAll(installation, ids, 'stop');

      const longest: number[] = [];
      for (let kill = 0; kill < KILLS; kill++) {
        const victim = workers.shift();
        if (!victim) throw new Error('no worker left');
        const operationIds = await requestStaggered(installation, ids);
        const killedAt = Date.now();
        await victim.kill();
        await installation.succeeded(operationIds);
        const gaps = await gapsAfter(installation, operationIds, killedAt);
        longest.push(Math.max(...gaps) / 1000);
        say(`kill ${kill + 1}: gone on after ${gaps.map(ms => (ms / 1000).toFixed(1)).join(', ')} s`);
        workers.push(await installation.start('worker'));
        await carryAll(installation, ids, 'stop');
      }
      return [
        {
          name: 'worker killed → the last of 8 operations goes on: median',
          value: median(longest),
          unit: 's',
          aim: { atMost: 15 },
          note: spreadOf(longest),
        },
        {
          name: 'worker killed → the last of 8 operations goes on: worst',
          value: Math.max(...longest),
          unit: 's',
          aim: { atMost: 15 },
        },
      ];
    } finally {
      await installation.release();
      await agent.stop();
    }
  },
};

async function carryAll(
  { client, succeeded }: Installation,
  ids: readonly string[],
  verb: 'start' | 'stop',
): Promise<void> {
  const accepted = await Promise.all(ids.map(id => client.act(id, verb)));
  await succeeded(accepted.map(({ operation }) => operation.id));
}

async function requestStaggered({ client }: Installation, ids: readonly string[]): Promise<string[]> {
  const operationIds: string[] = [];
  for (const id of ids) {
    operationIds.push((await client.act(id, 'start')).operation.id);
    await sleep(APART_MS);
  }
  return operationIds;
}

/** From the kill to the next event of each operation, in ms. */
async function gapsAfter(
  { db }: Installation,
  operationIds: readonly string[],
  killedAt: number,
): Promise<number[]> {
  const next = await rows<{ at: Date }>(
    db,
    `SELECT min(at) AS at FROM operation_events WHERE op_id = ANY($1::uuid[]) AND at > $2::timestamptz
     GROUP BY op_id ORDER BY 1`,
    { bind: [operationIds, new Date(killedAt)] },
  );
  return next.map(({ at }) => at.getTime() - killedAt);
}
