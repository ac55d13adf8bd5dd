import {
  AgentServiceService,
  ProcessState,
  type ServerInfo,
  type ServerState,
  type StartWork,
} from '#proto/gen/agent.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import { runIdFor, runIdOf, saysReady } from './looks.js';
import { applySettings } from './settings.js';
import { insist, isLost, pause, type Step, type StepDeps } from './step.js';
import { findRun, isAlive, sendStop, toTheEnd } from './stop.js';

const LOOK_MS = 500;
/** A console that nobody follows is opened for a moment to see whether its server lives: not too often. */
const ALIVE_LOOK_MS = 3_000;
const LINES_KEPT = 50;

/**
 * Starts the server and answers when its log says that it is ready; at once for one that is. Agents of version 1 know no
 * dedup, so first it is looked: a server they know they refuse to start, and so a start never happens twice.
 */
export async function startServer(deps: StepDeps, step: Step, work: StartWork): Promise<ServerState> {
  step.report({ phase: 'preparing' });
  const known = await findRun(deps, step);
  const running = known && (await isAlive(deps, step)) ? known : undefined;
  if (known && !running) await clear(deps, step, known);
  const run = running ?? (await launch(deps, step, work));
  try {
    return await untilReady(deps, step, run, work.readyTimeoutSeconds);
  } catch (error) {
    const isMine = runIdOf(run) === runIdFor(step.key);
    if (isMine && endsRun(error, step)) await endRun(deps, step, run);
    throw error;
  }
}

/** A crashed server stays on their list, and nobody on it is started. */
async function clear(deps: StepDeps, step: Step, crashed: ServerInfo): Promise<void> {
  step.report({ phase: 'preparing', message: 'The agent forgets the run that crashed' });
  const { left, hasAnswered } = await sendStop(deps, step, crashed);
  if (!left) return;
  if (!hasAnswered) throw new AppError('agent-unreachable');
  throw new AppError('agent-refused', {
    detail: 'The agent holds on to the run that crashed, and starts no other: restart the agent',
  });
}

async function launch(deps: StepDeps, step: Step, work: StartWork): Promise<ServerInfo> {
  const { agent, serverId, options } = step;
  if (work.settings && !work.settings.eulaAccepted) throw new AppError('eula-not-accepted');
  if ((await insist(step, () => deps.looks.jarBytes(agent, serverId, options))) === 0) {
    throw new AppError('not-installed', { detail: 'There is no server.jar in the server’s folder' });
  }
  const { settings } = work;
  if (settings) {
    await insist(step, () => applySettings(deps.calls, agent, serverId, settings, options));
  }
  step.report({ phase: 'launching' });
  const failure = await sendStart(deps, step, work);
  deps.consoles.forget(agent, serverId);
  const run = await findRun(deps, step);
  if (run) return run;
  throw failure ?? unlisted('The agent does not list the server it has started');
}

/** Sent once, whatever comes of it. Answers why it may not have happened: what did is looked at. */
async function sendStart({ calls }: StepDeps, step: Step, work: StartWork): Promise<AppError | undefined> {
  const { agent, serverId, options } = step;
  const request = {
    serverId,
    name: runIdFor(step.key),
    type: work.serverType,
    version: '',
    // Never without: it would be the agent's end.
    config: {
      minRam: `${work.memoryMinMb || work.memoryMaxMb}M`,
      maxRam: `${work.memoryMaxMb}M`,
      javaArgs: work.javaArgs,
      jarFile: work.jarFile || 'server.jar',
      autoRestart: false,
      customArgs: {},
    },
  };
  try {
    const method = AgentServiceService.startServer;
    const { success, message } = await calls.unary({ agent, method, request, options });
    if (success) return undefined;
    return new AppError('start-failed', { detail: message || 'The agent refused to start the server' });
  } catch (error) {
    if (!(error instanceof AppError) || options.signal.aborted) throw error;
    if (!isLost(error)) return error;
    return unlisted('The agent went away while it was told to start the server, and does not list it');
  }
}

/** A process may run that the agent knows nothing of, be it for having been restarted: nobody can tell by looking. */
function unlisted(what: string): AppError {
  return new AppError('outcome-unknown', { detail: `${what}: look at its host for a process of it` });
}

async function untilReady(
  deps: StepDeps,
  step: Step,
  run: ServerInfo,
  timeoutSeconds: number,
): Promise<ServerState> {
  const { agent, serverId, options } = step;
  const deadline = performance.now() + (timeoutSeconds || 180) * 1000;
  const heard: string[] = [];
  const unlisten = deps.consoles.listen(agent, serverId, line => {
    heard.push(line);
    if (heard.length > LINES_KEPT) heard.shift();
    if (saysReady(line)) deps.states.noteReady(agent, run);
    step.report({ phase: 'booting', percent: -1, message: line.slice(0, 200) });
  });
  try {
    let lookedMs = -Infinity;
    for (;;) {
      if (await insist(step, () => deps.states.isReady(agent, run, options))) break;
      if (performance.now() - lookedMs > ALIVE_LOOK_MS) {
        lookedMs = performance.now();
        if (!(await isStillThere(deps, step, run))) throw await explainEnd(deps, step, run, heard);
      }
      if (performance.now() > deadline) {
        const detail = `Not ready within ${timeoutSeconds} s; last it said: ${heard.at(-1) ?? 'nothing'}`;
        throw new AppError('start-timeout', { detail: detail.slice(0, 500) });
      }
      await pause(LOOK_MS, options.signal);
    }
  } finally {
    unlisten();
  }
  // The log tells of being ready, and a process that has ended since has told so, too.
  const state = await insist(step, () => deps.states.of(agent, run, options));
  if (state.state !== ProcessState.RUNNING) throw await explainEnd(deps, step, run, heard);
  step.report({ phase: 'ready', percent: 100 });
  return { ...state, readyAtMs: Date.now() };
}

async function isStillThere(deps: StepDeps, step: Step, run: ServerInfo): Promise<boolean> {
  const present = await findRun(deps, step);
  return present?.startTime === run.startTime && (await isAlive(deps, step));
}

async function explainEnd(
  deps: StepDeps,
  step: Step,
  run: ServerInfo,
  heard: readonly string[],
): Promise<AppError> {
  if ((await findRun(deps, step))?.startTime !== run.startTime) {
    return unlisted('The agent does not list the server any more');
  }
  const written = (await insist(step, () => deps.looks.log(step.agent, run, step.options))) ?? [];
  const lines = [...(written.length > 0 ? written : heard)].filter(line => line.trim() !== '');
  const code = lines.map(causeNamedBy).find(named => named !== undefined) ?? 'start-failed';
  const said = lines.slice(-3).join(' | ') || 'it printed nothing';
  return new AppError(code, { detail: `It ended before it was ready: ${said}`.slice(0, 500) });
}

function causeNamedBy(line: string): ErrorCode | undefined {
  if (line.includes('You need to agree to the EULA')) return 'eula-not-accepted';
  if (/FAILED TO BIND TO PORT|Failed to bind to port/.test(line)) return 'port-in-use';
  return line.includes('UnsupportedClassVersionError') ? 'java-missing' : undefined;
}

/** Rejects with `outcome-unknown` when the run is still there: then what failed has left something. */
async function endRun(deps: StepDeps, step: Step, run: ServerInfo): Promise<void> {
  const { left } = await sendStop(deps, step, run);
  if (left?.startTime !== run.startTime || !(await isAlive(deps, toTheEnd(step)))) return;
  throw new AppError('outcome-unknown', {
    detail: 'The server was not ready in time, and could not be stopped',
  });
}

/** What was superseded is for the newer step to end. */
function endsRun(error: unknown, { options, closing }: Step): boolean {
  if (closing.aborted) return false;
  const reason: unknown = options.signal.reason;
  if (options.signal.aborted) return reason instanceof AppError && reason.code === 'cancelled';
  return error instanceof AppError && error.code === 'start-timeout';
}
