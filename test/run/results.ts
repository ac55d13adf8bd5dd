import { appendFileSync, readFileSync } from 'node:fs';

/** What a suite's process tells, one JSON object a line, as it happens: what is told survives its being killed. */
export type Entry =
  | { readonly kind: 'begin'; readonly title: string }
  | { readonly kind: 'test'; readonly outcome: Outcome; readonly title: string }
  | { readonly kind: 'file'; readonly file: string; readonly seconds: number }
  /** All failures in full, for the end of the run. */
  | { readonly kind: 'details'; readonly text: string };

export type Outcome = 'passed' | 'failed' | 'pending';

export interface SuiteResult {
  readonly suite: string;
  readonly passed: number;
  readonly failed: number;
  readonly pending: number;
  readonly seconds: number;
  /** What failed, in full. */
  readonly details: readonly string[];
  readonly files: readonly FileTime[];
}

export interface FileTime {
  readonly file: string;
  readonly seconds: number;
}

/** Shares of one suite as that suite; they ran side by side, so the longest tells how long it took. */
export function bySuite(results: readonly SuiteResult[]): SuiteResult[] {
  const suites = new Map<string, SuiteResult>();
  for (const result of results) {
    const before = suites.get(result.suite);
    suites.set(result.suite, before ? together(before, result) : result);
  }
  return [...suites.values()];
}

function together(a: SuiteResult, b: SuiteResult): SuiteResult {
  return {
    suite: a.suite,
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    pending: a.pending + b.pending,
    seconds: Math.max(a.seconds, b.seconds),
    details: [...a.details, ...b.details],
    files: [...a.files, ...b.files],
  };
}

export function appendEntry(resultsFile: string, entry: Entry): void {
  appendFileSync(resultsFile, `${JSON.stringify(entry)}\n`);
}

/** Nothing when the process did not get so far as to tell anything. */
export function readEntries(resultsFile: string): Entry[] {
  try {
    return readFileSync(resultsFile, 'utf8')
      .split('\n')
      .map(parseEntry)
      .filter(entry => entry !== undefined);
  } catch {
    return [];
  }
}

/** A process that is killed may leave half a line. */
function parseEntry(line: string): Entry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEntry(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Only `appendEntry` writes these files, so the kind tells the rest. */
function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && 'kind' in value;
}

/** `seconds` is what the whole run took. */
export function table(results: readonly SuiteResult[], seconds: number): string {
  const all = results.reduce(together, NOTHING);
  const rows = [
    ['suite', 'passed', 'failed', 'pending', 'seconds'],
    ...[...results, { ...all, suite: 'all', seconds }].map(result => [
      result.suite,
      String(result.passed),
      String(result.failed),
      String(result.pending),
      result.seconds.toFixed(1),
    ]),
  ];
  return rows
    .map(([name = '', ...numbers]) => [name.padEnd(14), ...numbers.map(text => text.padStart(9))].join(''))
    .join('\n');
}

const NOTHING: SuiteResult = {
  suite: '',
  passed: 0,
  failed: 0,
  pending: 0,
  seconds: 0,
  details: [],
  files: [],
};
