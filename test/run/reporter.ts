import { format } from 'node:util';
import { relative } from 'node:path';
import Mocha from 'mocha';
import { appendEntry, type Outcome } from './results.js';
import { root } from './suites.js';

interface FileTally {
  readonly file: string;
  readonly since: number;
  readonly counts: Record<Outcome, number>;
}

const OUTSIDE = 'hooks around all files';

/** A line per file while tests run, everything that happens in the results file, and failures in full there at the end. */
export function reporterFor(suite: string, resultsFile: string): Mocha.ReporterConstructor {
  return class extends Mocha.reporters.Base {
    private tally: FileTally | undefined;

    constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
      super(runner, options);
      for (const event of ['test', 'hook'] as const) {
        runner.on(event, (runnable: Mocha.Runnable) =>
          appendEntry(resultsFile, { kind: 'begin', title: runnable.fullTitle() }),
        );
      }
      runner.on('suite', ({ parent, file }) => {
        if (parent?.root) this.enter(nameOf(file));
      });
      runner.on('pass', test => this.count('passed', test));
      runner.on('pending', test => this.count('pending', test));
      runner.on('fail', (runnable, error: unknown) => {
        this.count('failed', runnable);
        say(`  ✖ ${suite}: ${runnable.fullTitle()}\n      ${firstLine(error)}`);
      });
      runner.once('end', () => {
        this.leave();
        if (this.failures.length === 0) return;
        appendEntry(resultsFile, { kind: 'details', text: inFull(this.failures) });
      });
    }

    private enter(file: string): void {
      if (this.tally?.file === file) return;
      this.leave();
      this.tally = {
        file,
        since: performance.now(),
        counts: { passed: 0, failed: 0, pending: 0 },
      };
    }

    private leave(): void {
      if (!this.tally) return;
      const { file, since, counts } = this.tally;
      this.tally = undefined;
      const told = Object.entries(counts).filter(([outcome, n]) => n > 0 || outcome === 'passed');
      const seconds = (performance.now() - since) / 1000;
      appendEntry(resultsFile, { kind: 'file', file, seconds });
      say(
        [
          `${counts.failed > 0 ? '✖' : '✔'} ${file}`,
          told.map(([outcome, n]) => `${n} ${outcome}`).join(', '),
          `${seconds.toFixed(1)} s`,
        ].join(' · '),
      );
    }

    private count(outcome: Outcome, runnable: Mocha.Runnable): void {
      const file = nameOf(runnable.file ?? runnable.parent?.file);
      if (file !== OUTSIDE) this.enter(file);
      if (this.tally) this.tally.counts[outcome] += 1;
      appendEntry(resultsFile, { kind: 'test', outcome, title: runnable.fullTitle() });
    }
  };
}

function nameOf(file: string | undefined): string {
  return file === undefined ? OUTSIDE : relative(root, file);
}

/** One write a message: the process of another suite may be writing to the same terminal. */
function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Mocha's own rendering, with differences and causes, caught on its way to the console. */
function inFull(failures: Mocha.Test[]): string {
  const { Base } = Mocha.reporters;
  const lines: string[] = [];
  const { consoleLog } = Base;
  Base.consoleLog = (...data: unknown[]) => void lines.push(format(...data));
  try {
    Base.list(failures);
  } finally {
    Base.consoleLog = consoleLog;
  }
  return lines.join('\n').trimEnd();
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
}
