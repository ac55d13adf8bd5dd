import type { StopWork } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { writeConsole } from '../server/console.js';
import type { ManagedServer } from '../server/server.js';
import type { Report, StepContext } from './step.js';

export interface StopTimes {
  /** 0 = do not ask on the console. */
  readonly consoleSeconds: number;
  readonly termSeconds: number;
}

export const STOP_TIMES: StopTimes = { consoleSeconds: 30, termSeconds: 15 };
/** For a server that can't read its console yet, or never did. */
export const TERMINATE_TIMES: StopTimes = { consoleSeconds: 0, termSeconds: 5 };
/** What SIGKILL does not end within this waits in the kernel for a disk. */
const KILL_SECONDS = 10;

/** Too late to cancel once begun: half a stop is no state to leave a server in. */
export async function stopServer(context: StepContext, work: StopWork): Promise<void> {
  const { run } = context.server;
  if (work.runId !== '' && run?.runId !== work.runId) return; // that run is over, and another one is not its caller's
  const times = {
    consoleSeconds: work.consoleSeconds || STOP_TIMES.consoleSeconds,
    termSeconds: work.termSeconds || STOP_TIMES.termSeconds,
  };
  await endRun(context.server, times, context.uncancellable, context.report);
}

/**
 * Console `stop`, then SIGTERM, then SIGKILL of the group, each after its own time. Returns when the process is gone, at
 * once when there is none; safe to call again at any stage. Throws `stop-failed` when not even SIGKILL helped.
 */
export async function endRun(
  server: ManagedServer,
  times: StopTimes,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  await server.look();
  if (!server.alive) return;
  await server.intendStop('stop');
  const gone = (): boolean => !server.alive;

  if (times.consoleSeconds > 0) {
    report({ phase: 'stopping', message: 'asked on the console' });
    if (await askOnConsole(server, times.consoleSeconds, signal)) return;
  }
  report({ phase: 'terminating', message: 'sent SIGTERM' });
  server.signal('SIGTERM');
  if (await server.until(gone, times.termSeconds * 1000, signal)) return;
  report({ phase: 'killing', message: 'sent SIGKILL' });
  await killRun(server, signal);
}

/** SIGKILL of the whole group until it is gone. */
export async function killRun(server: ManagedServer, signal: AbortSignal): Promise<void> {
  for (let second = 0; second < KILL_SECONDS; second++) {
    // Again each second: a run may have been between two processes.
    server.signal('SIGKILL');
    if (await server.until(() => !server.alive, 1000, signal)) return;
  }
  throw new AgentError('stop-failed', `the process did not end within ${KILL_SECONDS} s of SIGKILL`);
}

/** True when the server ended in time. A console that is full or not there yet is tried again each second. */
async function askOnConsole(server: ManagedServer, seconds: number, signal: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + seconds * 1000;
  let asked = false;
  for (;;) {
    asked ||= await tryToAsk(server);
    const left = deadline - performance.now();
    if (left <= 0) return false;
    if (await server.until(() => !server.alive, asked ? left : Math.min(left, 1000), signal)) return true;
  }
}

async function tryToAsk(server: ManagedServer): Promise<boolean> {
  const run = server.run;
  if (run === undefined) return false;
  try {
    await writeConsole(run.fifoPath, 'stop');
    return true;
  } catch (error) {
    if (error instanceof AgentError) return false;
    throw error;
  }
}
