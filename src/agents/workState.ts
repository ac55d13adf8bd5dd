import { WorkState, type WorkStatus } from '#proto/gen/agent.js';

const ENDS: ReadonlySet<WorkState> = new Set([
  WorkState.SUCCEEDED,
  WorkState.FAILED,
  WorkState.CANCELLED,
  WorkState.OUTCOME_UNKNOWN,
]);

/** Whether the step is over, however it went: no other status follows. */
export function hasEnded({ state }: Pick<WorkStatus, 'state'>): boolean {
  return ENDS.has(state);
}
