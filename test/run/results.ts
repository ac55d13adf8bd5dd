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

export function table(results: readonly SuiteResult[]): string {
  const total = (pick: (result: SuiteResult) => number): number =>
    results.reduce((sum, result) => sum + pick(result), 0);
  const rows = [
    ['suite', 'passed', 'failed', 'pending', 'seconds'],
    ...results.map(row),
    row({
      suite: 'all',
      passed: total(result => result.passed),
      failed: total(result => result.failed),
      pending: total(result => result.pending),
      seconds: total(result => result.seconds),
    }),
  ];
  return rows
    .map(([name = '', ...numbers]) => [name.padEnd(14), ...numbers.map(text => text.padStart(9))].join(''))
    .join('\n');
}

function row(result: Omit<SuiteResult, 'details' | 'files'>): string[] {
  const { suite, passed, failed, pending, seconds } = result;
  return [suite, String(passed), String(failed), String(pending), seconds.toFixed(1)];
}
