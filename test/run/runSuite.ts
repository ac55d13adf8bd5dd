import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { settings } from '#src/config/table.js';
import { describeProcess, endProcessesOf, filesLeftIn } from '../harness/leaks.js';
import { readEntries, type SuiteResult } from './results.js';
import type { Services } from './services.js';
import { root, type Share, type Suite } from './suites.js';

export interface SuiteRun {
  /** The run's own folder; the suite gets its temporary folder in there. */
  readonly folder: string;
  readonly services: Services;
  readonly grep: string | undefined;
  /** Where processes leave what they covered; undefined = coverage is not asked for. */
  readonly coverage: { readonly v8: string; readonly workflows: string } | undefined;
  /** Aborted when the run is to end early. */
  readonly signal: AbortSignal;
}

const SUITE_PROCESS = fileURLToPath(new URL('suiteProcess.ts', import.meta.url));
/**
 * Without `require` of ES modules mocha imports test files. It would otherwise require them, and the loader would make a
 * second copy of every module that a file with a top-level await imports. Older releases of Node can't anyway.
 */
const IMPORT_ONLY = '--no-experimental-require-module';
const NODE_OPTIONS = [
  '--import',
  'tsx',
  ...(process.allowedNodeEnvironmentFlags.has(IMPORT_ONLY) ? [IMPORT_ONLY] : []),
];
const KILL_AFTER_MS = 5000;

/** Runs the files of one share to their end, and holds them to leaving nothing behind. Never rejects. */
export async function runShare({ suite, name, files }: Share, run: SuiteRun): Promise<SuiteResult> {
  const since = performance.now();
  const results = join(run.folder, `${name}.jsonl`);
  const temporary = join(run.folder, name);
  const faults: string[] = [];
  try {
    const env = await run.services.provide(suite.needs);
    mkdirSync(temporary);
    chmodSync(temporary, 0o711);
    const command = [
      ...NODE_OPTIONS,
      SUITE_PROCESS,
      `--suite=${name}`,
      `--results=${results}`,
      ...(run.grep === undefined ? [] : [`--grep=${run.grep}`]),
      ...files,
    ];
    const child = spawn(process.execPath, command, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...environment(suite, run), ...env, TMPDIR: temporary },
    });
    const complaint = await untilEnd(child, suite.limitMinutes, run.signal);
    // Cut short, it had no chance to clear up after itself.
    if (complaint === undefined) {
      faults.push(...(await leftovers(temporary)));
    } else {
      faults.push(`${complaint}; last in "${lastIn(results)}"`);
      await endProcessesOf(temporary);
    }
  } catch (error) {
    faults.push(`can't be run: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  return sumUp(suite.name, results, faults, (performance.now() - since) / 1000);
}

/** The settings of a developer's own installation are no business of tests. */
function environment({ measured }: Suite, { coverage }: SuiteRun): NodeJS.ProcessEnv {
  const ours = new Set<string>(settings.map(({ setting }) => setting.name));
  const others = Object.entries(process.env).filter(([name]) => !ours.has(name.replace(/_FILE$/, '')));
  return {
    ...Object.fromEntries(others),
    ...(measured && coverage && { NODE_V8_COVERAGE: coverage.v8, AYMC_COVERAGE_DIR: coverage.workflows }),
  };
}

/** What is wrong with the process itself; that tests failed is told by its results. */
async function untilEnd(
  child: ChildProcess,
  limitMinutes: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  let complaint: string | undefined;
  const end = (reason: string): void => {
    complaint ??= reason;
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS).unref();
  };
  const limit = setTimeout(() => end(`was ended after ${limitMinutes} minutes`), limitMinutes * 60_000);
  const abort = (): void => end('was interrupted');
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  const { code, deadly } = await exitOf(child);
  clearTimeout(limit);
  signal.removeEventListener('abort', abort);
  if (complaint !== undefined) return complaint;
  return code === 0 || code === 1 ? undefined : `ended with ${deadly ?? `exit code ${code}`}`;
}

function exitOf(child: ChildProcess): Promise<{ code: number | null; deadly: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, deadly) => resolve({ code, deadly }));
  });
}

async function leftovers(temporary: string): Promise<string[]> {
  const files = filesLeftIn(temporary);
  const processes = (await endProcessesOf(temporary)).map(describeProcess);
  return [
    ...(processes.length === 0 ? [] : [`left processes running:\n    ${processes.join('\n    ')}`]),
    ...(files.length === 0 ? [] : [`left in its temporary folder: ${files.join(', ')}`]),
  ];
}

function lastIn(resultsFile: string): string {
  return readEntries(resultsFile).findLast(entry => entry.kind === 'begin')?.title ?? 'nothing';
}

function sumUp(suite: string, resultsFile: string, faults: readonly string[], seconds: number): SuiteResult {
  const entries = readEntries(resultsFile);
  const count = (wanted: string): number =>
    entries.filter(entry => entry.kind === 'test' && entry.outcome === wanted).length;
  const told = entries.flatMap(entry => (entry.kind === 'details' ? [entry.text] : []));
  return {
    suite,
    passed: count('passed'),
    failed: count('failed') + faults.length,
    pending: count('pending'),
    seconds,
    details: [...told, ...faults.map(fault => `  The suite ${fault}`)],
    files: entries.filter(entry => entry.kind === 'file'),
  };
}
