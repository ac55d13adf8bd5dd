import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import { isErrorCode, type ErrorCode } from '#src/domain/errors.js';

export type Problem =
  /** Somebody asked for the end. */
  | { kind: 'cancelled' }
  /** The agent or the row has seen a newer operation: whatever this one would still do is void. */
  | { kind: 'superseded'; code: ErrorCode; detail: string }
  /** The step failed and nothing of it is left. */
  | { kind: 'failed'; code: ErrorCode; detail: string }
  /** The step may have happened. */
  | { kind: 'unsure'; code: ErrorCode; detail: string };

/** What a failed step means for the operation. Errors that are bugs of a workflow are not caught: the task is retried. */
export function problemOf(error: unknown): Problem {
  if (isCancellation(error)) return { kind: 'cancelled' };
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) {
    const code: ErrorCode = isErrorCode(cause.type) ? cause.type : 'internal';
    const detail = cause.message;
    if (code === 'superseded' || code === 'stale-write') return { kind: 'superseded', code, detail };
    const definite = cause.nonRetryable === true && code !== 'outcome-unknown';
    return { kind: definite ? 'failed' : 'unsure', code, detail };
  }
  if (cause instanceof TimeoutFailure) {
    return { kind: 'unsure', code: 'agent-timeout', detail: 'The agent did not finish the step in time' };
  }
  throw error;
}
