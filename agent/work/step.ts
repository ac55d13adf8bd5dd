import type { WorkProgress } from '#proto/gen/agent.js';
import type { ManagedServer } from '../server/server.js';
import type { Fence } from './ledger.js';

/**
 * Why a step was told to end early. Cancelled: undo what it did and end. Superseded: a newer operation has the server
 * now, so leave everything as it is. Detached: the agent shuts down; the next one takes the step up again.
 */
export type AbortCause = 'cancelled' | 'superseded' | 'detached';

export class StepAborted extends Error {
  constructor(readonly abortCause: AbortCause) {
    super(`step ${abortCause}`);
    this.name = 'StepAborted';
  }
}

export type Report = (progress: Partial<WorkProgress> & { phase: string }) => void;

/** Of a step that belongs to the agent itself. */
export interface OwnContext {
  /** Aborted with a StepAborted of any cause. */
  readonly signal: AbortSignal;
  readonly report: Report;
}

export interface StepContext extends OwnContext {
  readonly server: ManagedServer;
  readonly opId: string;
  /** `{op_id}/{step}`: what a start names its run, and how it finds it again. */
  readonly runId: string;
  readonly fence: Fence;
  /** Not aborted by a cancel: what undoes a cancelled step, and what can't be cancelled, waits on this one. */
  readonly uncancellable: AbortSignal;
}

/** Reports how far a download is; the total is 0 while it is not known. */
export function bytesOf(
  report: Report,
  said: { phase: string; message?: string },
): (bytesDone: number, bytesTotal: number) => void {
  return (bytesDone, bytesTotal) => {
    const percent = bytesTotal > 0 ? (100 * bytesDone) / bytesTotal : -1;
    report({ ...said, percent, bytesDone, bytesTotal });
  };
}

/** For a race with what must not keep an aborted step waiting: rejects with the signal's reason, and never resolves. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
