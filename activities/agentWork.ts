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
import { hasEnded } from '#src/agents/workState.js';
import type { Bus } from '#src/bus/bus.js';
import {
  type AgentActivities,
  type AgentWork,
  type AgentWorkInput,
  type AgentWorkResult,
  type ObservedProcess,
} from '#src/contracts/activities.js';
import { reportProgress } from '#src/db/carryOperation.js';
import type { Database } from '#src/db/connect.js';
import { noteCrash } from '#src/db/crashes.js';
import { loadWork, type WorkSubject } from '#src/db/workSubject.js';
import { canDo } from '#src/domain/capabilities.js';
import { AppError, isErrorCode } from '#src/domain/errors.js';
import type { FindJava } from '#src/provisioning/adoptium.js';
import type { ResolveArtifact } from '#src/provisioning/resolveArtifact.js';
import { buildWork, type WorkSources } from './buildWork.js';
import { crashOf } from './crashOf.js';
import { toFailure } from './errors.js';
import { findJavaFor, findMissingJava, greetAnew } from './javaPackage.js';
import { ProgressReporter } from './progressReporter.js';

export interface AgentActivityDeps {
  db: Database;
  gateway: AgentGateway;
  bus: Bus;
  resolveArtifact: ResolveArtifact;
  findJava: FindJava;
  /** A web or mail address that upstreams are told by agents, too. */
  contact: string;
  openToken: (sealed: string) => string;
  /** An agent that never answered for this long was never told: the operation fails, and nothing is half done. */
  reachBudgetMs: number;
  /** Aborted when this process ends: activities let go, and another worker takes over at once. */
  stopping: AbortSignal;
}

/** The checkpoint of an attempt that may have reached the agent with its step. */
const SUBMITTED = { submitted: true };
const BRINGS_JAVA: ReadonlySet<AgentWork> = new Set<AgentWork>(['provision', 'stage', 'installJava']);

/** Control calls answer at once; the waiting is done by watching. */
const CALL_DEADLINE_MS = 5_000;
const HEARTBEAT_MS = 1_000;
const CANCEL_TRIES = 20;
const CANCEL_RETRY_MS = 500;

export function createAgentActivities(deps: AgentActivityDeps): AgentActivities {
  const activity = (work: AgentWork) => (input: AgentWorkInput) => runOnAgent(deps, work, input);
  return {
    provisionOnAgent: activity('provision'),
    startOnAgent: activity('start'),
    stopOnAgent: activity('stop'),
    killOnAgent: activity('kill'),
    deleteOnAgent: activity('delete'),
    installJavaOnAgent: activity('installJava'),
    stageOnAgent: activity('stage'),
    snapshotOnAgent: activity('snapshot'),
    revertOnAgent: activity('revert'),
    discardOnAgent: activity('discard'),
  };
}

/** One attempt at one step. */
interface Attempt {
  agent: AgentAddress;
  key: WorkKey;
  subject: WorkSubject;
  /** Taken at the start: listeners of signals run outside of the activity's context. */
  context: Context;
  /** Sent with every heartbeat: that of the attempt before, until this one may have reached the agent as well. */
  checkpoint: unknown;
}

async function runOnAgent(
  deps: AgentActivityDeps,
  work: AgentWork,
  input: AgentWorkInput,
): Promise<AgentWorkResult> {
  const context = Context.current();
  const subject = await loadWork(deps.db, input.operationId);
  const key: WorkKey = { opId: input.operationId, step: input.step };
  const agent = agentAddress(subject.agent, deps.openToken);
  const attempt: Attempt = { agent, key, subject, context, checkpoint: context.info.heartbeatDetails };
  const heartbeat = setInterval(() => context.heartbeat(attempt.checkpoint), HEARTBEAT_MS);
  try {
    const result = (await watchKnown(deps, attempt)) ?? (await carry(deps, attempt, work, input));
    // What it can run may have changed: until its next hello nobody else would know.
    if (BRINGS_JAVA.has(work)) await greetAnew(deps, subject.agent);
    return result;
  } finally {
    clearInterval(heartbeat);
  }
}

/** A step that an earlier attempt may have submitted, without asking any upstream again; null when the agent lacks it. */
async function watchKnown(deps: AgentActivityDeps, attempt: Attempt): Promise<AgentWorkResult | null> {
  if (!mayHaveSubmitted(attempt)) return null;
  try {
    return await watch(deps, attempt);
  } catch (error) {
    if (error instanceof AppError && error.code === 'not-found') return null;
    throw error;
  }
}

async function carry(
  deps: AgentActivityDeps,
  attempt: Attempt,
  work: AgentWork,
  input: AgentWorkInput,
): Promise<AgentWorkResult> {
  const { key, subject } = attempt;
  const request = await build(deps, attempt, work, input);
  await submit(deps, attempt, {
    key,
    serverId: subject.server?.id ?? '',
    epoch: subject.operation.epoch ?? 0,
    opSeq: subject.operation.op_seq ?? 0,
    undo: input.undo ?? false,
    work: request,
  });
  return watch(deps, attempt);
}

/** An upstream that can't be asked for longer than an agent may take to be reached fails the operation, too. */
async function build(
  deps: AgentActivityDeps,
  attempt: Attempt,
  work: AgentWork,
  input: AgentWorkInput,
): Promise<WorkRequest['work']> {
  const sources: WorkSources = {
    resolveArtifact: deps.resolveArtifact,
    findMissingJava: (agent, wish) => findMissingJava(deps, agent, wish),
    findJava: (agent, wish) => findJavaFor(deps, agent, wish),
    can: async (agent, capability) =>
      canDo(agent.capabilities, capability) ||
      canDo((await greetAnew(deps, agent))?.capabilities ?? null, capability),
  };
  try {
    return await buildWork(work, input, attempt.subject, sources);
  } catch (error) {
    throw mayHaveSubmitted(attempt) ? error : withinBudget(deps, attempt.context, error);
  }
}

/**
 * Hands the step over. An agent that can't be reached is tried again by Temporal, and so is one that refuses the step for
 * want of a lease; once the budget is spent without any attempt that may have got through, the failure is definite.
 */
async function submit(deps: AgentActivityDeps, attempt: Attempt, request: WorkRequest): Promise<void> {
  const { context, agent, subject } = attempt;
  const options = callOptions(subject);
  if (!mayHaveSubmitted(attempt)) {
    try {
      await deps.gateway.ping(agent, options);
    } catch (error) {
      throw withinBudget(deps, context, error);
    }
  }
  // The first heartbeat of an attempt leaves at once; the ones between are throttled.
  attempt.checkpoint = SUBMITTED;
  context.heartbeat(SUBMITTED);
  try {
    await deps.gateway.submitWork(agent, request, options);
  } catch (error) {
    // Only said of a step that the agent has never taken.
    throw error instanceof AppError && error.code === 'no-lease' ? withinBudget(deps, context, error) : error;
  }
}

function withinBudget(deps: AgentActivityDeps, context: Context, error: unknown): unknown {
  const waited = Date.now() - context.info.scheduledTimestampMs;
  const isSpent = error instanceof AppError && error.retryable && waited > deps.reachBudgetMs;
  return isSpent ? toFailure(error, { final: true }) : error;
}

function mayHaveSubmitted({ checkpoint }: Attempt): boolean {
  return typeof checkpoint === 'object' && checkpoint !== null && 'submitted' in checkpoint;
}

/** Follows the step to its end. Only a cancel that was asked for is passed on; everything else just stops watching. */
async function watch(deps: AgentActivityDeps, attempt: Attempt): Promise<AgentWorkResult> {
  const { context, agent, key, subject } = attempt;
  const operation = { operation_id: subject.operation.id, server_id: subject.server?.id ?? null };
  const detached = new AbortController();
  const passOn = () => {
    if (context.cancellationDetails?.cancelRequested) void cancelAtAgent(deps, attempt, detached);
    else detached.abort();
  };
  const signals = [context.cancellationSignal, deps.stopping];
  const unlisten = onAbort(signals, passOn);
  const progress = new ProgressReporter(async ({ key: eventKey, progress: present }) => {
    await reportProgress(deps.db, subject.operation.id, eventKey, present);
    deps.bus.publish('operation-events', operation);
  });
  const options = { deadlineMs: context.info.startToCloseTimeoutMs, signal: detached.signal };
  try {
    for await (const status of deps.gateway.watchWork(agent, key, options)) {
      if (hasEnded(status)) {
        if (status.server?.state === ProcessState.CRASHED && subject.server)
          await noteCrash(deps.db, subject.server.id, crashOf(status.server));
        return resultOf(status);
      }
      // Without a phase it has not begun yet.
      if (status.progress?.phase) progress.report(status.progress);
    }
    // A stream that ends without a terminal state is a lost reply: watch again.
    throw new AppError('agent-unreachable', { detail: 'The agent ended the stream early' });
  } catch (error) {
    if (!detached.signal.aborted) throw error;
    // The agent did not hear the cancel in time: what it has started is for the undo to end.
    if (context.cancellationDetails?.cancelRequested) throw new CancelledFailure('stopped watching');
    // The agent goes on. Another attempt, here or elsewhere, watches the same step.
    throw new AppError('shutting-down', { detail: 'This worker stopped watching', cause: error });
  } finally {
    unlisten();
    await progress.flush();
  }
}

/** Calls `listener` when any of the signals aborts, or at once when one has; answers how to stop listening. */
function onAbort(signals: readonly AbortSignal[], listener: () => void): () => void {
  const controller = new AbortController();
  for (const signal of signals)
    signal.addEventListener('abort', listener, { signal: controller.signal, once: true });
  if (signals.some(signal => signal.aborted)) listener();
  return () => controller.abort();
}

/** Asks until the agent has heard it: the watch then brings the step's real end. Never rejects. */
async function cancelAtAgent(
  deps: AgentActivityDeps,
  attempt: Attempt,
  detached: AbortController,
): Promise<void> {
  for (let tries = 0; tries < CANCEL_TRIES && !deps.stopping.aborted; tries++) {
    try {
      await deps.gateway.cancelWork(attempt.agent, attempt.key, callOptions(attempt.subject));
      return;
    } catch (error) {
      const code = error instanceof AppError ? error.code : 'internal';
      attempt.context.log.warn('the agent has not heard the cancel', { code });
      await sleep(CANCEL_RETRY_MS);
    }
  }
  detached.abort();
}

function callOptions(subject: WorkSubject) {
  const { request_id } = subject.operation;
  return { deadlineMs: CALL_DEADLINE_MS, ...(request_id !== null && { requestId: request_id }) };
}

function resultOf(status: WorkStatus): AgentWorkResult {
  if (status.state === WorkState.CANCELLED && status.errorCode !== 'superseded') {
    throw new CancelledFailure('the agent has ended the step early');
  }
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
