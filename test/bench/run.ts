/** Prints the figures that the project promises: `npm run bench`, or `npm run bench -- accept footprint`. */
import { accept } from './accept.js';
import { consoleDelivery } from './consoleDelivery.js';
import { consoleFlood } from './consoleFlood.js';
import { consoleFollowed } from './consoleFollowed.js';
import { consoleStorage } from './consoleStorage.js';
import { files } from './files.js';
import { firstActivity } from './firstActivity.js';
import { footprint } from './footprint.js';
import { describeLoad, describeMachine } from './lib/machine.js';
import { tableOf, type Benchmark, type Figure } from './lib/figures.js';
import { routes } from './routes.js';
import { snapshot } from './snapshot.js';
import { startOverhead } from './startOverhead.js';
import { throughput } from './throughput.js';
import { workerKilled } from './workerKilled.js';

const BENCHMARKS: readonly Benchmark[] = [
  accept,
  routes,
  firstActivity,
  startOverhead,
  throughput,
  workerKilled,
  footprint,
  consoleStorage,
  consoleDelivery,
  consoleFlood,
  consoleFollowed,
  files,
  snapshot,
];

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));

const chosen = choose(process.argv.slice(2));
const figures: Figure[] = [];
for (const { name, about, measure } of chosen) {
  console.log(`\n${name}: ${about} (load ${describeLoad()})`);
  try {
    const measured = await measure(line => console.log(`  ${line}`));
    console.log(`\n${tableOf(measured)}`);
    figures.push(...measured);
  } catch (error) {
    console.error(`${name} could not be measured:`, error);
    process.exitCode = 1;
  }
}
if (chosen.length > 1) console.log(`\n${tableOf(figures)}`);
console.log(`\n${describeMachine()}, load at the end ${describeLoad()}`);

function choose(names: readonly string[]): readonly Benchmark[] {
  const unknown = names.find(name => BENCHMARKS.every(benchmark => benchmark.name !== name));
  if (unknown === undefined)
    return names.length === 0 ? BENCHMARKS : BENCHMARKS.filter(({ name }) => names.includes(name));
  console.error(
    `There is no benchmark ${unknown}; there are ${BENCHMARKS.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
