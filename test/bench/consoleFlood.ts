import { setTimeout as sleep } from 'node:timers/promises';
import type { Message } from '#src/contracts/events.js';
import { row } from '#src/db/sql.js';
import { connectSocket, type SocketClient } from '#test/harness/socketClient.js';
import { median, percentile, round, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';
import { cpuSecondsOf, memoryOf } from './lib/procfs.js';
import { flooding, startShellAgent, ticking } from './lib/shellServers.js';

const NEIGHBOURS = 5;
const ALONE_S = 20;
/** Long enough to see whether memory only grows until the collector of garbage cares. */
const BESIDE_S = 120;
const MEGABYTE = 1e6;

/**
 * Servers that print a line every 100 ms, on one agent and watched on one socket: without and with a neighbour there,
 * watched on the same socket, that prints 100,000 lines a second. Agent, api+worker, Postgres, Temporal, the flood and
 * the watcher share the machine.
 */
export const consoleFlood: Benchmark = {
  name: 'consoleFlood',
  about: 'print → socket of servers beside one that floods its console, and what the flood costs',
  async measure(say) {
    const installation = await install();
    let release = async (): Promise<void> => undefined;
    try {
      const app = await installation.start('app');
      const agent = await startShellAgent(installation);
      ({ release } = agent);
      const ids = await agent.run(Array.from({ length: NEIGHBOURS }, () => ticking(0.1)));
      const watcher = await watch(installation, ids);
      await sleep(3_000);
      say(`${NEIGHBOURS} servers alone, ${ALONE_S} s`);
      const alone = await latencies(watcher, ALONE_S);
      const [flood = ''] = await agent.run([flooding]);
      const floods = await watch(installation, [flood]);
      await subscribe(watcher, [flood]);
      say(`beside the flood, ${BESIDE_S} s`);
      const pids = { 'api+worker': app.pid, agent: agent.program.pid };
      const cost = weigh(pids, BESIDE_S);
      const before = { lines: await countLines(installation, flood), seen: seenOf(floods) };
      const beside = await latencies(watcher, BESIDE_S, channelOf(flood));
      const weights = await cost;
      const after = { lines: await countLines(installation, flood), seen: seenOf(floods) };
      watcher.close();
      floods.close();
      const rate = (of: (at: typeof before) => number): number => (of(after) - of(before)) / BESIDE_S;
      return [
        ...latencyFigures('print → socket, no flood', alone),
        ...latencyFigures('print → socket beside a flood', beside, 100),
        { name: 'of the flood, stored', value: rate(at => at.lines), unit: '/s' },
        { name: 'of the flood, shown live', value: rate(at => at.seen.shown), unit: '/s' },
        { name: 'of the flood, marked as dropped live', value: rate(at => at.seen.dropped), unit: '/s' },
        ...weights,
      ];
    } finally {
      await installation.release();
      await release();
    }
  },
};

const channelOf = (id: string): string => `server:${id}:logs`;

async function watch({ url, client }: Installation, ids: readonly string[]): Promise<SocketClient> {
  const socket = await connectSocket(url, { token: client.token ?? '' });
  await subscribe(socket, ids);
  return socket;
}

async function subscribe(socket: SocketClient, ids: readonly string[]): Promise<void> {
  const { denied } = await socket.subscribe(ids.map(channelOf));
  if (denied.length > 0) throw new Error(JSON.stringify(denied));
}

/** Of every line that tells when it was printed and comes in this time, in ms. */
async function latencies(socket: SocketClient, seconds: number, except?: string): Promise<number[]> {
  const found: number[] = [];
  const take = ({ channel, data }: Message): void => {
    if (channel === except) return;
    const printed = / (\d{19})$/.exec(textIn(data))?.[1];
    if (printed !== undefined) found.push(performance.timeOrigin + performance.now() - Number(printed) / 1e6);
  };
  socket.socket.on('message', take);
  await sleep(seconds * 1000);
  socket.socket.off('message', take);
  return found;
}

function textIn(data: unknown): string {
  const message: unknown =
    typeof data === 'object' && data !== null ? Reflect.get(data, 'message') : undefined;
  return typeof message === 'string' ? message : '';
}

function seenOf({ messages }: SocketClient): { shown: number; dropped: number } {
  let dropped = 0;
  let marks = 0;
  for (const { data, type } of messages) {
    if (type !== 'error') continue;
    marks += 1;
    dropped += Number(typeof data === 'object' && data !== null ? Reflect.get(data, 'dropped') : 0);
  }
  return { shown: messages.length - marks, dropped };
}

async function countLines({ db }: Installation, id: string): Promise<number> {
  const found = await row<{ lines: number }>(db, 'SELECT count(*) AS lines FROM logs WHERE server_id = $1', {
    bind: [id],
  });
  return found?.lines ?? 0;
}

async function weigh(pids: Record<string, number>, seconds: number): Promise<Figure[]> {
  const rss = new Map(Object.keys(pids).map(name => [name, [] as number[]]));
  const before = Object.values(pids).map(cpuSecondsOf);
  for (let second = 0; second < seconds; second++) {
    await sleep(1000);
    for (const [name, pid] of Object.entries(pids)) rss.get(name)?.push(memoryOf(pid).rss / MEGABYTE);
  }
  return Object.entries(pids).flatMap(([name, pid], at) => {
    const samples = rss.get(name) ?? [];
    const busy = (cpuSecondsOf(pid) - (before[at] ?? NaN)) / seconds;
    return [
      {
        name: `${name} in the flood, most RSS`,
        value: Math.max(...samples),
        unit: 'MB',
        note: quartersOf(samples),
      },
      { name: `${name} in the flood, of a core`, value: 100 * busy, unit: '%' },
    ] satisfies Figure[];
  });
}

/** Medians of its quarters: whether it grows. */
function quartersOf(samples: readonly number[]): string {
  const quarter = Math.ceil(samples.length / 4);
  const medians = [0, 1, 2, 3].map(n => median(samples.slice(n * quarter, (n + 1) * quarter)));
  return `quarters ${medians.map(round).join(', ')}`;
}

function latencyFigures(name: string, samples: readonly number[], p95AtMost?: number): Figure[] {
  const note = spreadOf(samples);
  return [
    { name: `${name}, p50`, value: percentile(samples, 0.5), unit: 'ms', note },
    {
      name: `${name}, p95`,
      value: percentile(samples, 0.95),
      unit: 'ms',
      note,
      ...(p95AtMost !== undefined && { aim: { atMost: p95AtMost } }),
    },
  ];
}
