import { AgentServiceService, ProcessState, type ServerInfo, type ServerState } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { runIdOf } from './looks.js';
import { stoppedServer } from './states.js';
import { insist, isLost, type Step, type StepDeps } from './step.js';

/** They answer after half a minute. */
const STOP_CALL_MS = 90_000;
const STOP_TRIES = 3;

/** Ends the server's process, if it is that run's; answers the server as it then is. */
export async function stopServer(deps: StepDeps, step: Step, runId: string): Promise<ServerState> {
  const run = await findRun(deps, step);
  if (!run) return stateAfter(deps, step, undefined);
  const before = await insist(step, () => deps.states.of(step.agent, run, step.options));
  if (runId !== '' && runIdOf(run) !== runId) return before;
  step.report({ phase: 'stopping', message: 'The agent answers nothing else until the server has ended' });
  const { left, hasAnswered } = await sendStop(deps, step, run);
  if (left && (await isAlive(deps, step))) {
    throw new AppError('stop-failed', {
      detail: hasAnswered
        ? 'The agent says that it has stopped the server, but it runs'
        : 'The agent goes away whenever it is told to stop the server, which runs',
    });
  }
  // They are told to stop what has crashed so that they take it from their list; a crash it remains.
  return before.state === ProcessState.CRASHED ? before : stateAfter(deps, step, run);
}

/** Their stop is all the force that they have. */
export async function killServer(deps: StepDeps, step: Step): Promise<ServerState> {
  try {
    return await stopServer(deps, step, '');
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'stop-failed') throw error;
    throw new AppError('agent-unsupported', {
      detail: 'The server does not end, and agents of version 1 cannot kill it: end its process on the host',
      cause: error,
    });
  }
}

interface SentStop {
  /** What the agent lists of the server afterwards. */
  left: ServerInfo | undefined;
  hasAnswered: boolean;
}

/**
 * Once begun it is carried through, whatever ends the step. An agent that went away before it had answered, and then lists
 * the same run, is not stopping it any more (it would not answer): it is told again.
 */
export async function sendStop(deps: StepDeps, step: Step, run: ServerInfo): Promise<SentStop> {
  const lasting = toTheEnd(step);
  for (let tries = 1; ; tries++) {
    const hasAnswered = await tellToStop(deps, lasting);
    const left = await findRun(deps, lasting);
    const isOver = hasAnswered || left?.startTime !== run.startTime;
    if (isOver || tries === STOP_TRIES) return { left, hasAnswered };
  }
}

/** The same step, which nothing ends early any more. */
export function toTheEnd(step: Step): Step {
  return { ...step, options: { ...step.options, signal: step.closing } };
}

/**
 * One at a time, with nothing beside it. Answers whether the agent has; what it says (`success`) does not count, of a
 * crashed server it may be either.
 */
async function tellToStop(
  deps: StepDeps,
  { agent, serverId, options: { signal, ...options } }: Step,
): Promise<boolean> {
  try {
    await deps.turns.exclusive(agent.id, { deadlineMs: Infinity, signal }, () =>
      deps.rawCalls.unary({
        agent,
        method: AgentServiceService.stopServer,
        request: { serverId },
        options: { ...options, deadlineMs: STOP_CALL_MS, signal },
      }),
    );
    return true;
  } catch (error) {
    if (!isLost(error)) throw error;
    return false;
  } finally {
    deps.consoles.forget(agent, serverId);
  }
}

export function findRun(deps: StepDeps, step: Step): Promise<ServerInfo | undefined> {
  return insist(step, () => deps.looks.find(step.agent, step.serverId, step.options));
}

export function isAlive(deps: StepDeps, step: Step): Promise<boolean> {
  return insist(step, () => deps.consoles.isAlive(step.agent, step.serverId, step.options));
}

async function stateAfter(deps: StepDeps, step: Step, run: ServerInfo | undefined): Promise<ServerState> {
  const { agent, serverId, options } = step;
  const server = agent.work_dir
    ? await insist(step, () => deps.states.ofStopped(agent, serverId, options))
    : stoppedServer(serverId);
  return run ? { ...server, state: ProcessState.STOPPED, runId: runIdOf(run), exitCode: 0 } : server;
}
