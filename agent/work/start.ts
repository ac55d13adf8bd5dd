import { join } from 'node:path';
import { ProcessState, type StartWork } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { exists, readTextIfThere } from '../files.js';
import { requiredJavaMajor } from '../jar.js';
import { type JavaCatalogue, javaHomeOf } from '../java.js';
import type { Leases } from '../lease/leases.js';
import { readConsoleTail } from '../server/console.js';
import { GUARD_EXIT_LOCKED, GUARD_EXIT_NO_LEASE } from '../server/guard.js';
import { parseFileName } from '../server/paths.js';
import { describeFailure, failureNamedBy } from '../server/readiness.js';
import type { Registry } from '../server/registry.js';
import type { Run } from '../server/run.js';
import type { ManagedServer } from '../server/server.js';
import { pathOf, type StartFile, startArguments } from '../server/startFile.js';
import { applySettings, eulaIsAccepted } from './settings.js';
import { endRun, STOP_TIMES, TERMINATE_TIMES } from './stop.js';
import type { StepContext } from './step.js';

export interface StartDeps {
  readonly java: JavaCatalogue;
  readonly registry: Registry;
  readonly leases: Leases;
}

const READY_TIMEOUT_SECONDS = 180;
/** A guard notes its JVM within milliseconds, unless someone holds the lock for a moment. */
const LAUNCH_TIMEOUT_MS = 10_000;
const TAIL_BYTES = 16 * 1024;

/**
 * Starts a server and returns when its console says that it is ready; at once when it already runs. Joins a start that
 * is under way, lets a stop under way end first, and when taken up again after our own crash finds its run by the run
 * id. Throws what kept the server from being ready, with nothing left running. A cancel ends what is starting.
 */
export async function startServer(deps: StartDeps, context: StepContext, work: StartWork): Promise<void> {
  const { server, signal, uncancellable, report } = context;
  try {
    await bringUp(deps, context, work);
  } catch (error) {
    // Not asked on the console: a server that is still starting does not read it.
    if (signal.aborted && !uncancellable.aborted)
      await endRun(server, TERMINATE_TIMES, uncancellable, report);
    throw error;
  }
}

async function bringUp(deps: StartDeps, context: StepContext, work: StartWork): Promise<void> {
  const { server, signal, uncancellable, report } = context;
  await server.look();
  const mine = server.runs.findLast(run => run.runId === context.runId);
  if (mine && (await wasLaunched(server, mine))) return awaitReady(context, mine, work);
  if (server.state === ProcessState.STOPPING) await endRun(server, STOP_TIMES, uncancellable, report);
  signal.throwIfAborted();
  const running = server.alive ? server.run : undefined;
  return awaitReady(context, running ?? (await launch(deps, context, work)), work);
}

/** False for a run that we noted down but died before starting its guard: it has had no effect. */
async function wasLaunched(server: ManagedServer, run: Run): Promise<boolean> {
  await server.until(
    () => run.ended || server.jvm !== undefined,
    LAUNCH_TIMEOUT_MS,
    new AbortController().signal,
  );
  return (await run.readProcess()) !== undefined;
}

async function launch(
  { java, registry, leases }: StartDeps,
  context: StepContext,
  work: StartWork,
): Promise<Run> {
  const { server, fence, runId, report, signal } = context;
  const { folder } = server.paths;
  const startFile = startFileFor(server, work);
  report({ phase: 'preparing' });
  await assertInstalled(folder, startFile);
  if (!(work.settings ? work.settings.eulaAccepted : await eulaIsAccepted(folder))) {
    throw new AgentError('eula-not-accepted', 'the Minecraft EULA is not accepted for this server');
  }
  const runtime = await java.choose({
    major: work.javaPinned ? work.javaMajor : Math.max(work.javaMajor, server.facts.javaMajor ?? 0),
    pinned: work.javaPinned,
    // A file of arguments names a class somewhere in its libraries: what was said of it has to do.
    compiledFor: await requiredJavaMajor(join(folder, pathOf(startFile))),
  });
  if (work.settings) await applySettings(folder, work.settings);
  await server.saveFacts({
    ...('jarFile' in startFile && startFile),
    type: work.serverType || server.facts.type,
    javaVersion: runtime.version,
    memoryMinMb: work.memoryMinMb,
    memoryMaxMb: work.memoryMaxMb,
    javaArgs: work.javaArgs,
    ...(work.settings && { port: work.settings.port }),
  });
  await leases.beforeLaunch(server, fence.epoch, work.leased);
  signal.throwIfAborted();

  report({ phase: 'launching', message: `Java ${runtime.version}` });
  const run = await server.launch({
    runId,
    epoch: fence.epoch,
    command: [runtime.path, ...jvmArguments(work, startFile)],
    javaHome: javaHomeOf(runtime),
  });
  const noted = await server.until(() => run.ended || server.jvm !== undefined, LAUNCH_TIMEOUT_MS, signal);
  if (run.ended && (await run.readProcess()) === undefined) throw await explainRefusal(registry, server, run);
  if (!noted) throw new AgentError('start-failed', 'the guard did not start the server');
  return run;
}

function jvmArguments(work: StartWork, startFile: StartFile): string[] {
  const args: string[] = [];
  if (work.memoryMinMb > 0) args.push(`-Xms${work.memoryMinMb}M`);
  if (work.memoryMaxMb > 0) args.push(`-Xmx${work.memoryMaxMb}M`);
  return [...args, ...work.javaArgs, ...startArguments(startFile), 'nogui'];
}

/** What an installer left is started whatever jar the caller names: it can't know what that is called. */
function startFileFor({ facts }: ManagedServer, work: StartWork): StartFile {
  if (facts.launch) return facts.launch;
  return { jarFile: parseFileName(work.jarFile || facts.jarFile || 'server.jar', 'jar_file') };
}

async function assertInstalled(folder: string, startFile: StartFile): Promise<void> {
  const path = pathOf(startFile);
  if (await exists(join(folder, path))) return;
  throw new AgentError('not-installed', `there is no ${path} in the server's folder`);
}

async function explainRefusal(registry: Registry, server: ManagedServer, run: Run): Promise<AgentError> {
  if (server.guardExit === GUARD_EXIT_LOCKED) {
    await registry.adoptForgotten();
    return new AgentError('server-running', 'another copy of this server runs: it holds the kernel lock');
  }
  if (server.guardExit === GUARD_EXIT_NO_LEASE) {
    return new AgentError('no-lease', 'the lease was over before the server was started');
  }
  const said = ((await readTextIfThere(run.guardLogPath)) ?? '').trim().slice(-200);
  return new AgentError(
    'start-failed',
    `the guard ended with ${server.guardExit ?? 'a signal'} ${said}`.trim(),
  );
}

/** Returns once `run` is ready. Its time counts from the launch, on the kernel's clock: our own crashes don't extend it. */
async function awaitReady(context: StepContext, run: Run, work: StartWork): Promise<void> {
  const { server, signal, report } = context;
  const timeoutSeconds = work.readyTimeoutSeconds || READY_TIMEOUT_SECONDS;
  const settled = (): boolean => run.ended || run.readyAtMs > 0;
  let lastLine = '';
  for (;;) {
    const leftMs = (timeoutSeconds - run.ageSeconds) * 1000;
    if (await server.until(settled, Math.max(0, Math.min(leftMs, 1000)), signal)) break;
    if (leftMs <= 0) {
      await endRun(server, TERMINATE_TIMES, context.uncancellable, report);
      const detail = describeFailure(undefined, await consoleTail(run)).replace(/^ended: /, 'last it said: ');
      throw new AgentError('start-timeout', `not ready within ${timeoutSeconds} s; ${detail}`.slice(0, 500));
    }
    const line =
      (await readConsoleTail(run.consolePath, await run.consoleSize(), 1024)).findLast(Boolean) ?? '';
    if (line !== lastLine || lastLine === '')
      report({ phase: 'booting', percent: -1, message: line.slice(0, 200) });
    lastLine = line;
  }
  if (run.readyAtMs === 0) throw await explainExit(run);
  report({ phase: 'ready', percent: 100 });
}

async function explainExit(run: Run): Promise<AgentError> {
  if (run.stopCause === 'lease') {
    return new AgentError('no-lease', 'the lease was over before the server was ready');
  }
  const lines = await consoleTail(run);
  const code = lines.map(failureNamedBy).find(name => name !== undefined) ?? 'start-failed';
  return new AgentError(code, describeFailure(run.exitCode, lines));
}

async function consoleTail(run: Run): Promise<string[]> {
  return readConsoleTail(run.consolePath, await run.consoleSize(), TAIL_BYTES);
}
