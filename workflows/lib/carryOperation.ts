import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  defineQuery,
  defineSignal,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { AgentWork, AgentWorkResult, ObservedProcess } from '#src/contracts/activities.js';
import { SEARCH_ATTRIBUTES } from '#src/contracts/temporal.js';
import { PROGRESS_QUERY, RESOLVE_SIGNAL } from '#src/contracts/workflows.js';
import type { OperationInput, OperatorResolution } from '#src/contracts/workflows.js';
import { assertNever, type ErrorCode } from '#src/domain/errors.js';
import type { EndedState, OperationTrigger } from '#src/domain/operation.js';
import type { ServerEvent } from '#src/domain/serverState.js';
import {
  agentActivity,
  beginOperation,
  finishOperation,
  noteUndone,
  readDesiredState,
  transitionServer,
} from './activities.js';
import { Checklist, type ChecklistItem } from './checklist.js';
import { problemOf, type Problem } from './problem.js';

const getProgress = defineQuery<ChecklistItem[]>(PROGRESS_QUERY);
const resolveOperation = defineSignal<[OperatorResolution]>(RESOLVE_SIGNAL);

const outcomeKey = defineSearchAttributeKey(SEARCH_ATTRIBUTES.outcome, SearchAttributeType.KEYWORD);
const needsOperatorKey = defineSearchAttributeKey(SEARCH_ATTRIBUTES.needsOperator, SearchAttributeType.BOOL);

export type Outcome = EndedState | 'not-begun';

export interface AgentStep {
  /** For the operator's checklist and the activity's summary. */
  title: string;
  /** Name of the step at the agent; the work's own name unless an operation does the same work twice. */
  step?: string;
  /** What takes its effect back, should the operation not come to its end. */
  undoBy?: Undo;
  /** With the type and version that the operation asks for, instead of those on record. */
  upgraded?: boolean;
}

/**
 * `stop` ends the run that the step started and no other; `start` starts the server again, if it shall run by then;
 * `revert` puts back what was in the server's folder; `discard` removes what was got ready.
 */
export type Undo = 'stop' | 'start' | 'revert' | 'discard';

export interface OperationPlan {
  body(run: OperationRun): Promise<void>;
  /** What the server's status becomes when a step failed and left nothing behind. */
  failed?: ServerEvent;
  /** The server's row goes with the outcome. */
  deleteServer?: boolean;
}

const UNDO_TITLES: Record<Undo, string> = {
  stop: 'Undo: stop what was started',
  start: 'Undo: start it again',
  revert: 'Undo: put the old installation back',
  discard: 'Undo: remove what was got ready',
};

/** The status that an agent's answer stands for. */
const OBSERVED: Record<ObservedProcess, ServerEvent> = {
  stopped: 'stopped',
  starting: 'observedStarting',
  running: 'observedRunning',
  stopping: 'observedStopping',
  crashed: 'observedCrashed',
};

/** What an undo has made of the status. What was put back has not run yet: a crash was the other one's. */
function eventAfter(by: Undo, process: ObservedProcess): ServerEvent | null {
  if (by === 'revert') return 'stopped';
  if (by === 'discard' && process === 'crashed') return null;
  return OBSERVED[process];
}

/** One operation on its way. All its state lives in the workflow's own call. */
export class OperationRun {
  readonly operationId: string;
  readonly trigger: OperationTrigger;
  readonly checklist = new Checklist(setCurrentDetails);
  /** Steps that may have happened at the agent, oldest first. */
  readonly #undos: { step: string; by: Undo }[] = [];
  #moves = 0;
  #failedUndos = 0;

  constructor(operationId: string, trigger: OperationTrigger) {
    this.operationId = operationId;
    this.trigger = trigger;
  }

  /** One move of the server's status. No cancel reaches it: what was decided is written. */
  async transition(event: ServerEvent, reason?: string): Promise<void> {
    this.#moves += 1;
    const input = { operationId: this.operationId, step: this.#moves, event, ...(reason && { reason }) };
    await CancellationScope.nonCancellable(() => transitionServer(input));
  }

  /** Another step of the checklist, not cancelled midway. */
  record(title: string, work: () => Promise<void>): Promise<void> {
    return this.checklist.during(title, () => CancellationScope.nonCancellable(work));
  }

  /** As onAgent, for steps that are carried through once they are begun. */
  onAgentToTheEnd(work: AgentWork, step: AgentStep): Promise<AgentWorkResult> {
    return CancellationScope.nonCancellable(() => this.onAgent(work, step));
  }

  async onAgent(
    work: AgentWork,
    { title, step = work, undoBy, upgraded }: AgentStep,
  ): Promise<AgentWorkResult> {
    // Before the step: it may happen and its answer be lost.
    if (undoBy) this.#undos.push({ step, by: undoBy });
    const input = { operationId: this.operationId, step, ...(upgraded && { upgraded }) };
    try {
      return await this.checklist.during(title, () => agentActivity(work, title)(input));
    } catch (error) {
      // A definite failure has left nothing to undo, and what was superseded is no longer ours to undo.
      const { kind } = problemOf(error);
      if (undoBy && (kind === 'failed' || kind === 'superseded')) this.#undos.pop();
      throw error;
    }
  }

  /** From here on the operation stands: what comes after it tidies up, and undoes nothing. */
  settle(): void {
    this.#undos.length = 0;
  }

  /** As onAgentToTheEnd, for steps without which the operation has done all the same. Null when it failed. */
  async tidyOnAgent(work: AgentWork, step: AgentStep): Promise<AgentWorkResult | null> {
    try {
      return await this.onAgentToTheEnd(work, step);
    } catch (error) {
      problemOf(error); // what is no failed step is thrown on
      return null;
    }
  }

  /**
   * Undoes newest first and writes what the agent saw. Answers whether anything had to be undone; rejects when an undo
   * failed, with that undo and all older ones still to do.
   */
  async undo(): Promise<boolean> {
    let undone = false;
    for (let next = this.#undos.at(-1); next !== undefined; next = this.#undos.at(-1)) {
      const { step, by } = next;
      const isDue = by !== 'start' || (await this.shallRun());
      const after = isDue ? await this.#undoStep(step, by) : null;
      this.#undos.pop();
      undone = true;
      const event = after && eventAfter(by, after.process);
      if (event) await this.transition(event);
      await noteUndone({ operationId: this.operationId, step });
    }
    return undone;
  }

  /** Whether the server shall run, whatever was so when the operation began. */
  async shallRun(): Promise<boolean> {
    const { operationId } = this;
    const desired = await CancellationScope.nonCancellable(() => readDesiredState({ operationId }));
    return desired === 'running';
  }

  async #undoStep(step: string, by: Undo): Promise<AgentWorkResult | null> {
    const title = UNDO_TITLES[by];
    // The agent answers a known step with its known end: what an operator wants tried again needs a name of its own.
    const name = this.#failedUndos === 0 ? `undo:${step}` : `undo:${step}:${this.#failedUndos + 1}`;
    const ofRun = by === 'stop' ? { ofRun: step } : {};
    const input = { operationId: this.operationId, step: name, undo: true, ...ofRun };
    if (by === 'start') await this.transition('startRequested');
    try {
      return await this.checklist.during(title, () => agentActivity(by, title)(input));
    } catch (error) {
      // The server has moved on to a newer operation, which answers for it now.
      if (problemOf(error).kind === 'superseded') return null;
      this.#failedUndos += 1;
      throw error;
    }
  }
}

/**
 * The frame of every operation: begin, the body's steps, and exactly one recorded end. On a failure or a cancel the
 * undos run in a scope that no further cancel can reach; an undo that fails leaves the operation with an operator,
 * never "failed and forgotten".
 */
export async function carryOperation({ operationId }: OperationInput, plan: OperationPlan): Promise<Outcome> {
  const decisions: OperatorResolution[] = [];
  setHandler(resolveOperation, decision => void decisions.push(decision));
  const runId = workflowInfo().firstExecutionRunId;
  const { begun, trigger } = await CancellationScope.nonCancellable(() =>
    beginOperation({ operationId, runId }),
  );
  if (!begun) return 'not-begun';

  const run = new OperationRun(operationId, trigger);
  setHandler(getProgress, () => run.checklist.items());
  try {
    await plan.body(run);
  } catch (error) {
    return CancellationScope.nonCancellable(() => endBadly(run, plan, problemOf(error), decisions));
  }
  return CancellationScope.nonCancellable(() => finish(run, 'succeeded', undefined, plan.deleteServer));
}

async function endBadly(
  run: OperationRun,
  plan: OperationPlan,
  problem: Problem,
  decisions: OperatorResolution[],
): Promise<Outcome> {
  for (;;) {
    try {
      const undone = await run.undo();
      return await recordEnd(run, plan, problem, undone);
    } catch (error) {
      const failure = problemOf(error);
      const why = 'detail' in failure ? failure.detail : 'cancelled';
      const decision = await restUntilResolved(run, why, decisions);
      if (decision.action === 'close') {
        return finish(run, 'failed', { code: 'compensation-failed', detail: decision.note || why });
      }
    }
  }
}

async function recordEnd(
  run: OperationRun,
  plan: OperationPlan,
  problem: Problem,
  undone: boolean,
): Promise<Outcome> {
  switch (problem.kind) {
    case 'cancelled':
      return finish(run, 'cancelled');
    case 'superseded':
      return finish(run, 'cancelled', { code: 'superseded', detail: problem.detail });
    case 'failed':
    case 'unsure': {
      if (!undone && plan.failed) await run.transition(plan.failed, problem.detail);
      const error = { code: problem.code, detail: problem.detail };
      return finish(run, undone ? 'compensated' : 'failed', error);
    }
    default:
      return assertNever(problem);
  }
}

/** Visible in the API, in the list of workflows and here, until an operator signals. */
async function restUntilResolved(
  run: OperationRun,
  why: string,
  decisions: OperatorResolution[],
): Promise<OperatorResolution> {
  const error = { code: 'compensation-failed' as const, detail: why };
  await finishOperation({ operationId: run.operationId, state: 'needs_operator', error });
  upsertSearchAttributes([{ key: needsOperatorKey, value: true }]);
  await run.checklist.during('Wait for an operator to resolve this', () =>
    condition(() => decisions.length > 0),
  );
  upsertSearchAttributes([{ key: needsOperatorKey, value: false }]);
  const decision = decisions.shift();
  if (!decision) throw new Error('woken without a decision');
  return decision;
}

async function finish(
  run: OperationRun,
  state: EndedState,
  error?: { code: ErrorCode; detail: string },
  deleteServer = false,
): Promise<Outcome> {
  const { operationId } = run;
  await finishOperation({
    operationId,
    state,
    ...(error && { error }),
    ...(deleteServer && { deleteServer }),
  });
  upsertSearchAttributes([{ key: outcomeKey, value: state }]);
  return state;
}
