import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import {
  ProcessState,
  WorkState,
  type WorkKey,
  type WorkRequest,
  type WorkStatus,
} from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentAddress, AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import {
  AGENT_WORK,
  type AgentActivities,
  type AgentWork,
  type AgentWorkInput,
  type AgentWorkResult,
  type ObservedProcess,
} from '#src/contracts/activities.js';
import { reportProgress } from '#src/db/carryOperation.js';
import type { Database } from '#src/db/connect.js';
import { loadWork, type WorkSubject } from '#src/db/workSubject.js';
import { AppError, isErrorCode } from '#src/domain/errors.js';
import type { ResolveArtifact } from '#src/provisioning/resolveArtifact.js';
import { buildWork } from './buildWork.js';
import { toFailure } from './errors.js';
import { ProgressReporter } from './progressReporter.js';

export interface AgentActivityDeps {
  db: Database;
  gateway: AgentGateway;
  bus: Bus;
  resolveArtifact: ResolveArtifact;
  openToken: (sealed: string) => string;
  /** An agent that never answered for this long was never told: the operation fails, and nothing is half done. */
  reachBudgetMs: number;
}

/** What survives from one attempt to the next. */
interface Checkpoint {
  /** Whether some attempt may have reached the agent with this step. */
  submitted: boolean;
}

/** Control calls answer at once; the waiting is done by watching. */
const CALL_DEADLINE_MS = 5_000;
const HEARTBEAT_MS = 1_000;

export function createAgentActivities(deps: AgentActivityDeps): AgentActivities {
  const activity = (work: AgentWork) => (input: AgentWorkInput) => runOnAgent(deps, work, input);
  const [provision, start, stop, kill, remove] = AGENT_WORK;
  return {
    provisionOnAgent: activity(provision),
    startOnAgent: activity(start),
    stopOnAgent: activity(stop),
    killOnAgent: activity(kill),
    deleteOnAgent: activity(remove),
  };
}

async function runOnAgent(
  deps: AgentActivityDeps,
  work: AgentWork,
  input: AgentWorkInput,
): Promise<AgentWorkResult> {
  const subject = await loadWork(deps.db, input.operationId);
  const agent = agentAddress(subject.agent, deps.openToken);
  const key: WorkKey = { opId: input.operationId, step: input.step };
  const request: WorkRequest = {
    key,
    serverId: subject.server.id,
    epoch: subject.operation.epoch ?? 0,
    opSeq: subject.operation.op_seq ?? 0,
    undo: input.undo ?? false,
    work: await buildWork(work, input, subject, deps.resolveArtifact),
  };
  const context = Context.current();
  await submit(deps, agent, request, subject);
  const stopHeartbeats = keepHeartbeating(context, { submitted: true });
  try {
    return await watch(deps, agent, key, subject);
  } finally {
    stopHeartbeats();
  }
}

/**
 * Hands the step over. An agent that can't be reached is tried again by Temporal; once the budget is spent without
 * any attempt that may have got through, the failure is definite.
 */
async function submit(
  deps: AgentActivityDeps,
  agent: AgentAddress,
  request: WorkRequest,
  subject: WorkSubject,
): Promise<void> {
  const { gateway } = deps;
  const context = Context.current();
  const options = callOptions(subject);
  const checkpoint: Checkpoint = isCheckpoint(context.info.heartbeatDetails)
    ? context.info.heartbeatDetails
    : { submitted: false };
  if (!checkpoint.submitted) {
    try {
      await gateway.ping(agent, options);
    } catch (error) {
      const waited = Date.now() - context.info.scheduledTimestampMs;
      if (error instanceof AppError && error.retryable && waited > deps.reachBudgetMs) {
        throw toFailure(error, { final: true });
      }
      throw error;
    }
  }
  // The first heartbeat of an attempt leaves at once; the ones between are throttled.
  context.heartbeat({ submitted: true } satisfies Checkpoint);
  await gateway.submitWork(agent, request, options);
}

function isCheckpoint(value: unknown): value is Checkpoint {
  return (
    typeof value === 'object' &&
    value !== null &&
    'submitted' in value &&
    typeof value.submitted === 'boolean'
  );
}

function keepHeartbeating(context: Context, checkpoint: Checkpoint): () => void {
  const timer = setInterval(() => context.heartbeat(checkpoint), HEARTBEAT_MS);
  return () => clearInterval(timer);
}

/** Follows the step to its end. Only a cancel that was asked for is passed on; everything else just stops watching. */
async function watch(
  deps: AgentActivityDeps,
  agent: AgentAddress,
  key: WorkKey,
  subject: WorkSubject,
): Promise<AgentWorkResult> {
  const context = Context.current();
  const detached = new AbortController();
  const onCancel = () => void passOnCancel(deps, agent, key, subject, detached);
  context.cancellationSignal.addEventListener('abort', onCancel, { once: true });
  if (context.cancellationSignal.aborted) onCancel();
  const progress = new ProgressReporter(report =>
    reportProgress(deps.db, subject.operation.id, report.key, report.progress).then(() =>
      deps.bus.publish('operation-events', {
        operation_id: subject.operation.id,
        server_id: subject.server.id,
      }),
    ),
  );
  const watchOptions = { deadlineMs: context.info.startToCloseTimeoutMs, signal: detached.signal };
  try {
    for await (const status of deps.gateway.watchWork(agent, key, watchOptions)) {
      if (isTerminal(status.state)) return resultOf(status);
      if (status.progress) progress.report(status.progress);
    }
    // A stream that ends without a terminal state is a lost reply: watch again.
    throw new AppError('agent-unreachable', { detail: 'The agent ended the stream early' });
  } catch (error) {
    if (detached.signal.aborted) throw new CancelledFailure('stopped watching; the agent goes on');
    throw error;
  } finally {
    context.cancellationSignal.removeEventListener('abort', onCancel);
    await progress.flush();
  }
}

/** Asks until the agent has heard it: the watch then brings the step's real end. */
async function passOnCancel(
  deps: AgentActivityDeps,
  agent: AgentAddress,
  key: WorkKey,
  subject: WorkSubject,
  detached: AbortController,
): Promise<void> {
  const context = Context.current();
  if (!context.cancellationDetails?.cancelRequested) {
    detached.abort();
    return;
  }
  for (let attempt = 0; attempt < 20; attempt++) {
    try {
      await deps.gateway.cancelWork(agent, key, callOptions(subject));
      return;
    } catch (error) {
      context.log.warn('the agent has not heard the cancel', {
        code: error instanceof AppError ? error.code : 'internal',
      });
      await sleep(500);
    }
  }
  detached.abort();
}

function callOptions(subject: WorkSubject) {
  const { request_id } = subject.operation;
  return { deadlineMs: CALL_DEADLINE_MS, ...(request_id !== null && { requestId: request_id }) };
}

const TERMINAL = new Set<WorkState>([
  WorkState.SUCCEEDED,
  WorkState.FAILED,
  WorkState.CANCELLED,
  WorkState.OUTCOME_UNKNOWN,
]);

function isTerminal(state: WorkState): boolean {
  return TERMINAL.has(state);
}

function resultOf(status: WorkStatus): AgentWorkResult {
  if (status.state === WorkState.CANCELLED) throw new CancelledFailure('the agent has ended the step early');
  if (status.state !== WorkState.SUCCEEDED) {
    const code = isErrorCode(status.errorCode) ? status.errorCode : 'agent-failed';
    // The step has ended at the agent: the same pair would only be answered the same again.
    throw toFailure(new AppError(code, status.errorDetail ? { detail: status.errorDetail } : {}), {
      final: true,
    });
  }
  return {
    process: status.server ? observed(status.server.state) : 'stopped',
    exitCode: status.server?.exitCode ?? null,
  };
}

const OBSERVED = new Map<ProcessState, ObservedProcess>([
  [ProcessState.STOPPED, 'stopped'],
  [ProcessState.STARTING, 'starting'],
  [ProcessState.RUNNING, 'running'],
  [ProcessState.STOPPING, 'stopping'],
  [ProcessState.CRASHED, 'crashed'],
]);

/** A server the agent has never run is a stopped one. */
export function observed(state: ProcessState): ObservedProcess {
  return OBSERVED.get(state) ?? 'stopped';
}
