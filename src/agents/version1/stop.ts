import { AgentServiceService, ProcessState, type ServerInfo, type ServerState } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { runIdOf } from './looks.js';
import { stoppedServer } from './states.js';
import { insist, isLost, type Step, type StepDeps } from './step.js';

/** They answer after half a minute. */
const STOP_CALL_MS = 90_000;

/** Ends the server's process, if it is that run's; answers the server as it then is. */
export async function stopServer(deps: StepDeps, step: Step, runId: string): Promise<ServerState> {
  const run = await findRun(deps, step);
  if (!run) return stateAfter(deps, step, undefined);
  const before = await insist(step.options.signal, () => deps.states.of(step.agent, run, step.options));
  if (runId !== '' && runIdOf(run) !== runId) return before;
  step.report({ phase: 'stopping', message: 'The agent answers nothing else until the server has ended' });
  const left = await sendStop(deps, step);
  if (left && (await isAlive(deps, step))) {
    throw new AppError('stop-failed', {
      detail: 'The agent says that it has stopped the server, but it runs',
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

/** One at a time, with nothing beside it. Answers what the agent lists of the server afterwards. */
export async function sendStop(deps: StepDeps, step: Step): Promise<ServerInfo | undefined> {
  const { agent, serverId, closing } = step;
  await deps.turns.exclusive(agent.id, { deadlineMs: Infinity, signal: closing }, async () => {
    const options = { ...step.options, deadlineMs: STOP_CALL_MS, signal: closing };
    const method = AgentServiceService.stopServer;
    try {
      await deps.rawCalls.unary({ agent, method, request: { serverId }, options });
    } catch (error) {
      // What it has come to is looked at. What it says (`success`) is not: of a crashed server it may be either.
      if (!isLost(error)) throw error;
    }
  });
  deps.consoles.forget(agent, serverId);
  return findRun(deps, { ...step, options: { ...step.options, signal: closing } });
}

export function findRun(deps: StepDeps, { agent, serverId, options }: Step): Promise<ServerInfo | undefined> {
  return insist(options.signal, () => deps.looks.find(agent, serverId, options));
}

export function isAlive(deps: StepDeps, { agent, serverId, options }: Step): Promise<boolean> {
  return insist(options.signal, () => deps.consoles.isAlive(agent, serverId, options));
}

async function stateAfter(deps: StepDeps, step: Step, run: ServerInfo | undefined): Promise<ServerState> {
  const { agent, serverId, options } = step;
  const server = agent.work_dir
    ? await insist(options.signal, () => deps.states.ofStopped(agent, serverId, options))
    : stoppedServer(serverId);
  return run ? { ...server, state: ProcessState.STOPPED, runId: runIdOf(run), exitCode: 0 } : server;
}
