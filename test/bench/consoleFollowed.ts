import { setTimeout as sleep } from 'node:timers/promises';
import { median, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install } from './lib/installation.js';
import { cpuSecondsOf, memoryOf } from './lib/procfs.js';
import { idle, startShellAgent, ticking } from './lib/shellServers.js';

const IDLE_SERVERS = 50;
const CHATTY_SERVERS = 5;
const CHATTER_S = 0.1;
const MINUTES = Number(process.env['BENCH_MINUTES'] ?? 4);
const MEGABYTE = 1e6;

/** Shell scripts in place of JVMs, so that the machine has time for what is measured: the agent and its guards. */
export const consoleFollowed: Benchmark = {
  name: 'consoleFollowed',
  about: `an agent with ${IDLE_SERVERS} quiet and ${CHATTY_SERVERS} chatty servers that is followed for BENCH_MINUTES (default 4)`,
  async measure(say) {
    const installation = await install();
    let release = async (): Promise<void> => undefined;
    try {
      await installation.start('app');
      const agent = await startShellAgent(installation);
      ({ release } = agent);
      const { pid } = agent.program;
      say('without a server');
      const empty = await observe(pid, 20);
      await agent.run(Array.from({ length: IDLE_SERVERS }, () => idle));
      say(`with ${IDLE_SERVERS} quiet servers`);
      await sleep(5_000);
      const quiet = await observe(pid, 30);
      await agent.run(Array.from({ length: CHATTY_SERVERS }, () => ticking(CHATTER_S)));
      say(`and ${CHATTY_SERVERS} chatty ones, ${MINUTES} min`);
      const { rss, cpuPercent } = await observe(pid, MINUTES * 60);
      const minute = Math.min(60, Math.floor(rss.length / 2));
      const [first, last] = [median(rss.slice(0, minute)), median(rss.slice(-minute))];
      return [
        weight('agent without a server, RSS', empty.rss),
        weight(`agent with ${IDLE_SERVERS} quiet servers, RSS`, quiet.rss),
        weight(`agent with ${CHATTY_SERVERS} chatty ones too, RSS`, rss),
        { name: 'its growth, first to last minute', value: last - first, unit: 'MB', note: `${MINUTES} min` },
        {
          name: 'processor time of the agent for a quiet server',
          value: (quiet.cpuPercent - empty.cpuPercent) / IDLE_SERVERS,
          unit: '%',
          note: 'of a core',
        },
        {
          name: 'processor time of the agent with chatty ones',
          value: cpuPercent,
          unit: '%',
          note: 'of a core',
        },
      ];
    } finally {
      await installation.release();
      await release();
    }
  },
};

/** Megabytes once a second, and processor time over all of it. */
async function observe(pid: number, seconds: number): Promise<{ rss: number[]; cpuPercent: number }> {
  const rss: number[] = [];
  const [began, before] = [performance.now(), cpuSecondsOf(pid)];
  for (let second = 0; second < seconds; second++) {
    await sleep(1000);
    rss.push(memoryOf(pid).rss / MEGABYTE);
  }
  const cpuPercent = (1e5 * (cpuSecondsOf(pid) - before)) / (performance.now() - began);
  return { rss, cpuPercent };
}

function weight(name: string, megabytes: readonly number[]): Figure {
  return { name, value: median(megabytes), unit: 'MB', note: spreadOf(megabytes) };
}
