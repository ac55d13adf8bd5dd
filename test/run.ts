import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { COVERAGE_GATE, measureCoverage, roomTable, type RawCoverage } from './coverage.js';
import { describeProcess, endProcessesOf } from './harness/leaks.js';
import { missingPrerequisites } from './run/prerequisites.js';
import { bySuite, table, type SuiteResult } from './run/results.js';
import { makeRunFolder, removeFolder } from './run/runFolder.js';
import { runShare, type SuiteRun } from './run/runSuite.js';
import { createServices } from './run/services.js';
import { root, selectTests, type Share } from './run/suites.js';

/**
 * `npm test [-- names…] [--grep=text]`: all suites, or those and the files that are named. Sets up and takes down what
 * they need, and ends in a line `N passed, N failed`. With AYMC_COVERAGE=1 it measures coverage, too, and fails below
 * the gate.
 */
const SLOWEST = 8;
/** Tests wait more than they work, so one more than there are cores; many more would make them miss their deadlines. */
const LANES = Math.min(4, availableParallelism() + 1);

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (!interrupted.signal.aborted) console.error(`\n${signal}: ending the tests and what they started …`);
    interrupted.abort();
  });
}

const { values, positionals } = parseArgs({
  options: { grep: { type: 'string', short: 'g' } },
  allowPositionals: true,
});
end(await tryTests());

async function tryTests(): Promise<Verdict> {
  const missing = await missingPrerequisites();
  if (missing.length > 0) return { passed: 0, faults: missing };
  try {
    return await runTests(selectTests(positionals));
  } catch (error) {
    return { passed: 0, faults: [error instanceof Error ? error.message : String(error)] };
  }
}

interface Verdict {
  readonly passed: number;
  readonly failed?: number;
  /** What is wrong beside failed tests; each counts as one. */
  readonly faults: readonly string[];
}

async function runTests(selected: readonly Share[]): Promise<Verdict> {
  const since = performance.now();
  const folder = await makeRunFolder();
  const services = createServices(join(folder, 'services'), console.log, interrupted.signal);
  const coverage =
    process.env['AYMC_COVERAGE'] === '1'
      ? { v8: join(folder, 'coverage/v8'), workflows: join(folder, 'coverage/workflows') }
      : undefined;
  const faults: string[] = [];
  let results: SuiteResult[];
  try {
    const run = { folder, services, coverage, grep: values.grep, signal: interrupted.signal };
    results = await runAll(selected, run);
    if (coverage && !interrupted.signal.aborted) faults.push(...(await gateCoverage(coverage)));
  } finally {
    await services.stop();
    const left = await endProcessesOf(folder);
    // Whoever interrupts us leaves it to us to end what tests have started.
    if (!interrupted.signal.aborted)
      faults.push(...left.map(running => `left a process running: ${describeProcess(running)}`));
    removeFolder(folder);
  }
  for (const { suite, details } of results) {
    if (details.length > 0) console.log(`\n── ${suite} ──\n${details.join('\n')}`);
  }
  console.log(`\n${slowestFiles(results)}\n\n${table(results, (performance.now() - since) / 1000)}\n`);
  return {
    passed: results.reduce((sum, result) => sum + result.passed, 0),
    failed: results.reduce((sum, result) => sum + result.failed, 0),
    faults,
  };
}

async function gateCoverage(raw: RawCoverage): Promise<string[]> {
  try {
    const rooms = await measureCoverage(root, raw);
    console.log(`\n${roomTable(rooms)}`);
    return rooms
      .filter(({ percent }) => percent < COVERAGE_GATE)
      .map(({ room }) => `${room} is covered to less than ${COVERAGE_GATE} % of its lines`);
  } catch (error) {
    return [`coverage can't be measured: ${error instanceof Error ? error.message : String(error)}`];
  }
}

/** Those that share the machine first, then one by one those that want it for themselves; results in that order. */
async function runAll(selected: readonly Share[], run: SuiteRun): Promise<SuiteResult[]> {
  const results = new Map<Share, SuiteResult>();
  const alone = selected.filter(({ suite }) => suite.alone);
  const shared = selected.filter(({ suite }) => !suite.alone);
  const drain = async (queue: Share[]): Promise<void> => {
    for (let next = queue.shift(); next && !run.signal.aborted; next = queue.shift()) {
      results.set(next, await runShare(next, run));
    }
  };
  const queue = [...shared];
  await Promise.all(Array.from({ length: LANES }, () => drain(queue)));
  await drain([...alone]);
  return bySuite(selected.flatMap(share => results.get(share) ?? []));
}

function slowestFiles(results: readonly SuiteResult[]): string {
  const slowest = results
    .flatMap(({ files }) => files)
    .sort((a, b) => b.seconds - a.seconds)
    .slice(0, SLOWEST);
  return [
    'slowest files',
    ...slowest.map(({ file, seconds }) => `${seconds.toFixed(1).padStart(8)}  ${file}`),
  ].join('\n');
}

/** The last line of all, for programs that read it. */
function end({ passed, failed = 0, faults }: Verdict): void {
  for (const fault of faults) console.log(fault);
  // Nothing passed means that nothing was tried, whatever the reason.
  const total = Math.max(failed + faults.length, passed === 0 ? 1 : 0);
  console.log(`${passed} passed, ${total} failed`);
  process.exitCode = interrupted.signal.aborted ? 130 : Math.min(total, 1);
}
