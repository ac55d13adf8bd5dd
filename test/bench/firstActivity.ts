import { setTimeout as sleep } from 'node:timers/promises';
import { rows } from '#src/db/sql.js';
import { startFakeAgent, type FakeAgent } from '#test/fakeAgent.js';
import { percentile, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';

const WARM_UPS = 30;
const OPERATIONS = 100;
const SUBMIT_TIMEOUT_MS = 20_000;

/** One operation at a time on an otherwise idle system. */
export const firstActivity: Benchmark = {
  name: 'first-activity',
  about:
    'accepted → first activity begun, and accepted → the agent is told; api and worker in one process, and apart',
  async measure(say) {
    const together = await measureWith(['app'], say);
    const apart = await measureWith(['api', 'worker'], say);
    return [...figuresOf('', together), ...figuresOf(', api and worker apart', apart)];
  },
};

interface Samples {
  started: number[];
  told: number[];
  ended: number[];
}

async function measureWith(
  programs: readonly ('app' | 'api' | 'worker')[],
  say: (line: string) => void,
): Promise<Samples> {
  const agent = await startFakeAgent();
  const installation = await install();
  try {
    for (const program of programs) await installation.start(program);
    const ids = await installation.addServers(agent, WARM_UPS + OPERATIONS);
    for (const id of ids.splice(0, WARM_UPS)) {
      const { operation } = await installation.client.act(id, 'start');
      await installation.succeeded([operation.id]);
    }
    say(`${OPERATIONS} operations, ${programs.join(' + ')}`);
    const submitted = new Map<string, number>();
    const operationIds: string[] = [];
    for (const id of ids) {
      const calls = submitsOf(agent);
      const { operation } = await installation.client.act(id, 'start');
      submitted.set(operation.id, await nextSubmit(agent, calls));
      await installation.succeeded([operation.id]);
      operationIds.push(operation.id);
    }
    return await samplesOf(installation, operationIds, submitted);
  } finally {
    await installation.release();
    await agent.stop();
  }
}

/** How often it was handed work. Only ever one operation is under way, so a new one is that operation's. */
function submitsOf({ calls }: FakeAgent): number {
  return calls.reduce((count, { method }) => count + (method === 'submitWork' ? 1 : 0), 0);
}

/** When the agent was told, in epoch milliseconds, to the millisecond of a timer. */
async function nextSubmit(agent: FakeAgent, before: number): Promise<number> {
  const deadline = Date.now() + SUBMIT_TIMEOUT_MS;
  while (submitsOf(agent) === before) {
    if (Date.now() > deadline) throw new Error('the agent was never told');
    await sleep(1);
  }
  return Date.now();
}

/** By the events that users read. Their times are those of Postgres, whose clock is this machine's. */
async function samplesOf(
  { db }: Installation,
  operationIds: readonly string[],
  submitted: ReadonlyMap<string, number>,
): Promise<Samples> {
  const events = await rows<{ op_id: string; accepted: Date; started: Date; ended: Date }>(
    db,
    `SELECT op_id, min(at) FILTER (WHERE type = 'accepted') AS accepted,
       min(at) FILTER (WHERE type = 'started') AS started, max(at) FILTER (WHERE type = 'succeeded') AS ended
     FROM operation_events WHERE op_id = ANY($1::uuid[]) GROUP BY op_id`,
    { bind: [operationIds] },
  );
  const since = (event: Date, accepted: Date): number => event.getTime() - accepted.getTime();
  return {
    started: events.map(({ accepted, started }) => since(started, accepted)),
    told: events.map(({ op_id, accepted }) => (submitted.get(op_id) ?? NaN) - accepted.getTime()),
    ended: events.map(({ accepted, ended }) => since(ended, accepted)),
  };
}

function figuresOf(where: string, { started, told, ended }: Samples): Figure[] {
  const figure = (name: string, samples: readonly number[], share: number): Figure => ({
    name: `${name}${where}: p${share * 100}`,
    value: percentile(samples, share),
    unit: 'ms',
    ...(share === 0.5 && { note: spreadOf(samples) }),
  });
  return [
    figure('accepted → first activity', started, 0.5),
    figure('accepted → first activity', started, 0.95),
    figure('accepted → agent told', told, 0.5),
    figure('accepted → agent told', told, 0.95),
    figure('accepted → succeeded, instant agent', ended, 0.5),
  ];
}
