import { type WorkProgress, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import type { LedgerEntry } from './ledger.js';
import { type AbortCause, StepAborted } from './step.js';

export type Work = NonNullable<WorkRequest['work']>;

/** Belongs to the agent itself: no server, no fence. */
export type OwnWork = Extract<Work, { $case: 'installJava' }>;
export type ServerWork = Exclude<Work, OwnWork>;

export function isOwnWork(work: Work): work is OwnWork {
  return work.$case === 'installJava';
}

export const NO_PROGRESS: WorkProgress = { phase: '', percent: -1, message: '', bytesDone: 0, bytesTotal: 0 };

/** A step that has not ended. */
export class Task {
  /** Settles when the entry is on disk; a second submit of the same pair waits for it. */
  accepted: Promise<void> = Promise.resolve();
  state: WorkState.ACCEPTED | WorkState.IN_PROGRESS = WorkState.ACCEPTED;
  progress: WorkProgress = NO_PROGRESS;
  #abortCause: AbortCause | undefined;
  readonly #abort = new AbortController();
  readonly #abortUncancellable = new AbortController();

  constructor(
    readonly entry: LedgerEntry,
    readonly work: Work,
    /** Begun by an earlier agent process, which may have got anywhere. */
    readonly resumed: boolean,
  ) {}

  get abortCause(): AbortCause | undefined {
    return this.#abortCause;
  }

  /** Aborted for whatever cause. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Not aborted by a cancel. */
  get uncancellable(): AbortSignal {
    return this.#abortUncancellable.signal;
  }

  /** A later cause outranks a cancel: who cleans up after a cancelled start must stop too. */
  abort(cause: AbortCause): void {
    if (this.#abortCause !== undefined && this.#abortCause !== 'cancelled') return;
    this.#abortCause = cause;
    this.#abort.abort(new StepAborted(cause));
    if (cause !== 'cancelled') this.#abortUncancellable.abort(new StepAborted(cause));
  }
}
