import { setTimeout as sleep } from 'node:timers/promises';
import { startFakeAgent } from '#test/fakeAgent.js';
import { startBareWorker } from './lib/bareWorker.js';
import { median, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';
import { installMinecraft, startRealAgent } from './lib/minecraft.js';
import { processesIn } from './lib/processes.js';
import { cpuSecondsOf, memoryOf, nameOf, parentOf } from './lib/procfs.js';

/** So many operations, and as many bare workflows, are behind each worker when it is weighed. */
const WARM_UP_SERVERS = 50;
const WINDOW_S = 30;
const AGENT_IDLE_S = 10;
const MEGABYTE = 1e6;

/** Weighed while nothing is asked of them: what an installation costs that only keeps a server running. */
export const footprint: Benchmark = {
  name: 'footprint',
  about: 'memory and idle processor time of api+worker, agent and guard, against a bare worker',
  async measure(say) {
    const scripted = await startFakeAgent();
    const installation = await install();
    try {
      const ids = await installation.addServers(scripted, WARM_UP_SERVERS);
      const app = await installation.start('app');
      const bare = await startBareWorker(installation);
      await warmUp(installation, ids);
      await bare.run(2 * WARM_UP_SERVERS, 10);

      const agent = await startRealAgent(installation);
      say(`agent without a server, ${AGENT_IDLE_S} s`);
      const idleAgent = new Weighed(agent.program.pid);
      await observe([idleAgent], AGENT_IDLE_S);
      const server = await installMinecraft(installation, agent);
      const { operation } = await installation.client.act(server.id, 'start');
      await installation.succeeded([operation.id]);
      say(`all with one Minecraft server running, ${WINDOW_S} s`);
      const ours = new Weighed(app.pid);
      const theirs = new Weighed(bare.pid);
      const busyAgent = new Weighed(agent.program.pid);
      const guard = new Weighed(guardOf(server.folder));
      await observe([ours, theirs, busyAgent, guard], WINDOW_S);
      const stopped = await installation.client.act(server.id, 'stop');
      await installation.succeeded([stopped.operation.id]);
      await bare.stop();

      const above = ours.rss.map((bytes, at) => bytes - (theirs.rss[at] ?? NaN));
      return [
        weight('bare worker, RSS', theirs.rss),
        weight('api+worker, RSS', ours.rss),
        weight('api+worker above a bare worker', above, 90),
        weight('agent without a server, RSS', idleAgent.rss, 90),
        weight('agent with one server, RSS', busyAgent.rss, 90),
        weight('guard, RSS', guard.rss, 3),
        weight('guard, PSS', guard.pss),
        idle('bare worker', theirs),
        idle('api+worker', ours),
        idle('agent', busyAgent),
        idle('guard', guard),
      ];
    } finally {
      await installation.release();
      await scripted.stop();
    }
  },
};

async function warmUp({ client, succeeded }: Installation, ids: readonly string[]): Promise<void> {
  for (const verb of ['start', 'stop'] as const) {
    const accepted = await Promise.all(ids.map(id => client.act(id, verb)));
    await succeeded(accepted.map(({ operation }) => operation.id));
  }
}

/** The parent of the JVM that works in the server's folder. */
function guardOf(folder: string): number {
  const jvm = processesIn(folder).find(pid => nameOf(pid) === 'java');
  if (jvm === undefined) throw new Error('no JVM runs');
  return parentOf(jvm);
}

/** A process under observation. */
class Weighed {
  /** Bytes, once a second. */
  readonly rss: number[] = [];
  readonly pss: number[] = [];
  /** Of one core, over the time of observation. */
  cpuPercent = 0;

  constructor(readonly pid: number) {}
}

async function observe(processes: readonly Weighed[], seconds: number): Promise<void> {
  const began = performance.now();
  const before = processes.map(({ pid }) => cpuSecondsOf(pid));
  for (let second = 0; second < seconds; second++) {
    await sleep(1000);
    for (const { pid, rss, pss } of processes) {
      const memory = memoryOf(pid);
      rss.push(memory.rss);
      pss.push(memory.pss);
    }
  }
  const wallSeconds = (performance.now() - began) / 1000;
  processes.forEach((weighed, at) => {
    weighed.cpuPercent = (100 * (cpuSecondsOf(weighed.pid) - (before[at] ?? NaN))) / wallSeconds;
  });
}

function weight(name: string, bytes: readonly number[], atMost?: number): Figure {
  const megabytes = bytes.map(value => value / MEGABYTE);
  return {
    name,
    value: median(megabytes),
    unit: 'MB',
    note: spreadOf(megabytes),
    ...(atMost !== undefined && { aim: { atMost } }),
  };
}

function idle(name: string, { cpuPercent }: Weighed): Figure {
  return {
    name: `${name}, idle processor time`,
    value: cpuPercent,
    unit: '%',
    note: `${WINDOW_S} s, of one core`,
  };
}
