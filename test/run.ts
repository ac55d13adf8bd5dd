import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { COVERAGE_GATE, measureCoverage, roomTable } from './coverage.js';
import { endProcessesOf } from './harness/leaks.js';
import { missingPrerequisites } from './run/prerequisites.js';
import { table, type SuiteResult } from './run/results.js';
import { makeRunFolder, removeFolder } from './run/runFolder.js';
import { runSuite, type SuiteRun } from './run/runSuite.js';
import { createServices } from './run/services.js';
import { root, selectTests, type Selection } from './run/suites.js';

/**
 * `npm test [-- names…] [--grep=text]`: all suites, or those and the files that are named. Sets up and takes down what
 * they need, and ends in a line `N passed, N failed`. With AYMC_COVERAGE=1 it measures coverage, too, and fails below
 * the gate.
 */
const SLOWEST = 8;
/** More at a time would make tests wait for each other rather than end sooner. */
const LANES = Math.min(2, availableParallelism());

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
const missing = await missingPrerequisites();
if (missing.length > 0) {
  for (const complaint of missing) console.error(complaint);
  end(0, missing.length);
} else {
  const { passed, failed } = await runTests(selectTests(positionals));
  end(passed, passed === 0 ? Math.max(failed, 1) : failed);
}

async function runTests(selected: readonly Selection[]): Promise<{ passed: number; failed: number }> {
  const folder = await makeRunFolder();
  const services = createServices(join(folder, 'services'), console.log, interrupted.signal);
  const coverage =
    process.env['AYMC_COVERAGE'] === '1'
      ? { v8: join(folder, 'coverage/v8'), workflows: join(folder, 'coverage/workflows') }
      : undefined;
  try {
    const run = { folder, services, coverage, grep: values.grep, signal: interrupted.signal };
    const results = await runAll(selected, run);
    for (const { suite, details } of results) {
      if (details.length > 0) console.log(`\n── ${suite} ──\n${details.join('\n')}`);
    }
    const rooms = coverage && !interrupted.signal.aborted ? await measureCoverage(root, coverage) : [];
    console.log(`\n${slowestFiles(results)}\n\n${table(results)}\n`);
    if (rooms.length > 0) console.log(`${roomTable(rooms)}\n`);
    const sum = (pick: (result: SuiteResult) => number): number =>
      results.reduce((total, result) => total + pick(result), 0);
    return {
      passed: sum(result => result.passed),
      failed: sum(result => result.failed) + rooms.filter(room => room.percent < COVERAGE_GATE).length,
    };
  } finally {
    await services.stop();
    await endProcessesOf(folder);
    removeFolder(folder);
  }
}

/** Those that share the machine first, then one by one those that want it for themselves; results in that order. */
async function runAll(selected: readonly Selection[], run: SuiteRun): Promise<SuiteResult[]> {
  const results = new Map<Selection, SuiteResult>();
  const alone = selected.filter(({ suite }) => suite.alone);
  const shared = selected.filter(({ suite }) => !suite.alone);
  const drain = async (queue: Selection[]): Promise<void> => {
    for (let next = queue.shift(); next && !run.signal.aborted; next = queue.shift()) {
      results.set(next, await runSuite(next, run));
    }
  };
  const queue = [...shared];
  await Promise.all(Array.from({ length: LANES }, () => drain(queue)));
  await drain([...alone]);
  return selected.flatMap(selection => results.get(selection) ?? []);
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

function end(passed: number, failed: number): void {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = interrupted.signal.aborted ? 130 : failed > 0 ? 1 : 0;
}
