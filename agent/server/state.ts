import { ProcessState } from '#proto/gen/agent.js';
import { assertNever } from '../errors.js';
import type { Run, StopCause } from './run.js';

export const STATE_NAMES: Record<ProcessState, string> = {
  [ProcessState.STOPPED]: 'stopped',
  [ProcessState.STARTING]: 'starting',
  [ProcessState.RUNNING]: 'running',
  [ProcessState.STOPPING]: 'stopping',
  [ProcessState.CRASHED]: 'crashed',
  [ProcessState.PROCESS_STATE_UNSPECIFIED]: 'unknown',
  [ProcessState.UNRECOGNIZED]: 'unknown',
};

/** What the latest run says about its server. */
export function stateOf(run: Run | undefined): ProcessState {
  if (run === undefined) return ProcessState.STOPPED;
  if (!run.ended) {
    if (run.stopCause !== undefined) return ProcessState.STOPPING;
    return run.readyAtMs > 0 ? ProcessState.RUNNING : ProcessState.STARTING;
  }
  return run.stopCause !== undefined || run.crash === undefined ? ProcessState.STOPPED : ProcessState.CRASHED;
}

/** Why the server came into this state, for the journal. */
export function reasonOf(state: ProcessState, run: Run | undefined): string {
  switch (state) {
    case ProcessState.STARTING:
      return 'start-requested';
    case ProcessState.RUNNING:
      return 'ready';
    case ProcessState.STOPPING:
      return stoppingReason(run?.stopCause);
    case ProcessState.STOPPED:
      return endReason(run?.stopCause);
    case ProcessState.CRASHED:
      return 'crash';
    case ProcessState.PROCESS_STATE_UNSPECIFIED:
    case ProcessState.UNRECOGNIZED:
      return '';
    default:
      return assertNever(state);
  }
}

function stoppingReason(cause: StopCause | undefined): string {
  switch (cause) {
    case 'kill':
      return 'kill-requested';
    case 'lease':
      return 'lease-expired';
    case 'stop':
    case undefined:
      return 'stop-requested';
    default:
      return assertNever(cause);
  }
}

function endReason(cause: StopCause | undefined): string {
  switch (cause) {
    case 'stop':
      return 'stopped';
    case 'kill':
      return 'killed';
    case 'lease':
      return 'lease-expired';
    case undefined:
      return 'exit'; // someone typed `stop` on the console, or the host told it to end
    default:
      return assertNever(cause);
  }
}
