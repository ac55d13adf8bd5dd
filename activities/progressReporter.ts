import type { WorkProgress } from '#proto/gen/agent.js';
import type { OperationProgress } from '#src/domain/operation.js';

export interface Report {
  /** The same progress of the same step is recorded once, also after a retry. */
  key: string;
  progress: OperationProgress;
}

/** A download reports hundreds of times; people and the events table want a step of five percent or a new phase. */
const PERCENT_STEP = 5;

/**
 * Passes on what is news, one at a time, in order. Showing progress never fails the work: an error is dropped, and the
 * next report tries again.
 */
export class ProgressReporter {
  readonly #send: (report: Report) => Promise<void>;
  #last: { phase: string; percent: number } | null = null;
  #sending: Promise<void> | null = null;
  #waiting: WorkProgress | null = null;

  constructor(send: (report: Report) => Promise<void>) {
    this.#send = send;
  }

  report(progress: WorkProgress): void {
    if (this.#last?.phase === progress.phase && progress.percent < this.#last.percent + PERCENT_STEP) return;
    this.#waiting = progress;
    this.#sending ??= this.#drain();
  }

  /** Resolves when nothing is under way any more. */
  async flush(): Promise<void> {
    await this.#sending;
  }

  async #drain(): Promise<void> {
    for (let next = this.#waiting; next !== null; next = this.#waiting) {
      this.#waiting = null;
      this.#last = { phase: next.phase, percent: next.percent };
      await this.#send(toReport(next)).catch(ignoreLostReport);
    }
    this.#sending = null;
  }
}

function ignoreLostReport(_error: unknown): void {
  // Only the view is late by one report; the operation itself records its end in its own transaction.
}

function toReport({ phase, percent, message, bytesDone, bytesTotal }: WorkProgress): Report {
  return {
    key: `progress:${phase}:${Math.floor(percent)}`,
    progress: {
      phase,
      percent: percent < 0 ? null : percent,
      message,
      bytes_done: bytesDone > 0 || bytesTotal > 0 ? bytesDone : null,
      bytes_total: bytesTotal > 0 ? bytesTotal : null,
    },
  };
}
