import { AgentError } from '../errors.js';
import { endOfWholeLines, readConsole, writeConsole } from '../server/console.js';
import type { Run } from '../server/run.js';
import { bootSeconds } from '../system.js';
import type { TpsQuestion } from './tpsQuestion.js';

/** A server that answers later than this is said not to answer: its main thread reads the console once a tick. */
const PATIENCE_SECONDS = 10;
/** An older value says nothing about now. */
const TPS_GOOD_FOR_SECONDS = 120;
/** Lines known to be answers: what a reader who is further behind gets to see of them does no harm. */
const ANSWER_LINES_KEPT = 1_000;
const SCAN_BYTES = 256 * 1024;

/**
 * Asks one run's console for its ticks per second, and finds the answer in what the server prints. At most one question
 * is open at a time, and it stays open until it is answered: then the first answer after it is ours, whoever else asks
 * the same, since a server answers in order.
 */
export class ConsoleProbe {
  /** Where the lines of our answers begin, oldest first. */
  readonly #answerLines = new Set<number>();
  #open = false;
  #askedAt: number | undefined;
  #answeredAt: number | undefined;
  #unansweredSince: number | undefined;
  #tps = 0;
  #scanned = 0;
  #scanning: Promise<void> = Promise.resolve();
  #scanIsDue = false;

  constructor(
    private readonly run: Run,
    private readonly question: TpsQuestion,
  ) {}

  get tps(): number | undefined {
    const age = bootSeconds() - (this.#answeredAt ?? -Infinity);
    return age <= TPS_GOOD_FOR_SECONDS ? this.#tps : undefined;
  }

  /** For how long the console has left a question open; 0 = it answers; undefined = it has never answered. */
  get silentSeconds(): number | undefined {
    if (this.#answeredAt === undefined) return undefined;
    const silent = bootSeconds() - (this.#unansweredSince ?? Infinity);
    return silent > PATIENCE_SECONDS ? silent : 0;
  }

  /** Whether it is time for another question, when one is asked every `intervalSeconds`. */
  isDue(intervalSeconds: number): boolean {
    return !this.#open && bootSeconds() - (this.#askedAt ?? -Infinity) >= intervalSeconds;
  }

  async ask(): Promise<void> {
    const { run } = this;
    this.#askedAt = bootSeconds();
    // Before the question: nobody may read its answer and not know from where on to look for it.
    this.#scanned = await endOfWholeLines(run.consolePath, await run.consoleSize());
    this.#unansweredSince ??= this.#askedAt;
    this.#open = true;
    try {
      await writeConsole(run.fifoPath, this.question.command);
    } catch (error) {
      this.#open = false;
      if (!(error instanceof AgentError)) throw error; // else it does not read its console, or has just ended
    }
  }

  /** Looks at what was printed since the question; rejects when the file can't be read. */
  scan(): Promise<void> {
    if (!this.#open) return Promise.resolve();
    if (!this.#scanIsDue) {
      this.#scanIsDue = true;
      this.#scanning = this.#scanning.catch(() => undefined).then(() => this.#scanOn());
    }
    return this.#scanning;
  }

  /** Those of some lines that answer us, by where they begin. All of them have been printed. */
  async answersAmong(starts: readonly number[]): Promise<ReadonlySet<number>> {
    await this.scan();
    return new Set(starts.filter(start => this.#answerLines.has(start)));
  }

  async #scanOn(): Promise<void> {
    this.#scanIsDue = false;
    const { run } = this;
    while (this.#open) {
      const range = {
        offset: Math.max(this.#scanned, run.droppedBefore),
        maxBytes: SCAN_BYTES,
        ended: run.ended,
      };
      const { lines, starts, nextOffset } = await readConsole(run.consolePath, range);
      if (nextOffset === range.offset) return;
      this.#scanned = nextOffset;
      for (const [index, line] of lines.entries()) {
        if (this.#open) this.#take(line, starts[index] ?? nextOffset);
      }
    }
  }

  #take(line: string, start: number): void {
    const answer = this.question.read(line);
    if (answer === undefined) return;
    this.#answerLines.add(start);
    const [oldest] = this.#answerLines;
    if (oldest !== undefined && this.#answerLines.size > ANSWER_LINES_KEPT) this.#answerLines.delete(oldest);
    if (answer.tps === undefined) return;
    this.#tps = answer.tps;
    this.#answeredAt = bootSeconds();
    this.#unansweredSince = undefined;
    this.#open = false;
  }
}
