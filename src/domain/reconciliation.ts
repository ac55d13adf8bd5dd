import type { DesiredState, ServerStatus } from './serverState.js';

/** What we believe of a server that no operation is working on. */
export interface BelievedServer {
  status: ServerStatus;
  desired_state: DesiredState;
  auto_restart: boolean;
  installed: boolean;
  accept_eula: boolean;
  /** Crashes in the present window. */
  crashes: number;
}

/** What its agent says. */
export interface ObservedServer {
  process: 'stopped' | 'starting' | 'running' | 'stopping' | 'crashed';
  /** Null: nobody saw it end, e.g. the host went down. */
  exitCode: number | null;
  /** Its guard ended it because its agent's lease was over; `back` = its agent may run it again. */
  lease?: 'over' | 'back' | undefined;
}

export interface Correction {
  kind: 'server.start' | 'server.stop';
  /** For the operation's first event. */
  reason: string;
  /** The wish follows what happened: a `stop` typed into the console is one. */
  desiredState?: DesiredState;
  isCrash: boolean;
}

/** So many automatic restarts within the window; then the server stays down and says so. */
export const CRASH_BUDGET = 3;

/**
 * The operation that brings belief, wish and observation together again; null when they agree or the process is on its
 * way. The reconciler never acts by itself: a correction is an operation like any other, with a recorded end.
 */
export function correctionFor(believed: BelievedServer, observed: ObservedServer): Correction | null {
  const believedAlive = believed.status !== 'stopped' && believed.status !== 'error';
  switch (observed.process) {
    case 'running':
      if (believed.desired_state === 'stopped') return correct('server.stop', 'It runs and should not');
      return believed.status === 'running' ? null : correct('server.start', 'It runs already');
    case 'starting':
    case 'stopping':
      return null;
    case 'stopped':
    case 'crashed':
      if (observed.lease !== undefined) return afterLease(believed, observed.lease);
      return believedAlive ? endOf(believed, observed) : null;
  }
}

/** No crash, and nobody's wish: it is started again once it may run. One in `error` has failed since, and stays down. */
function afterLease(believed: BelievedServer, lease: 'over' | 'back'): Correction | null {
  if (believed.status === 'error') return null;
  const startable = believed.installed && believed.accept_eula && lease === 'back';
  if (believed.desired_state === 'running' && startable) {
    return correct('server.start', 'The lease that ended it has been renewed');
  }
  return believed.status === 'stopped' ? null : correct('server.stop', 'The lease of its agent was over');
}

function endOf(believed: BelievedServer, observed: ObservedServer): Correction {
  if (believed.desired_state === 'stopped') return correct('server.stop', 'It has ended');
  if (observed.exitCode === 0) {
    return { ...correct('server.stop', 'It was stopped from within'), desiredState: 'stopped' };
  }
  const startable = believed.installed && believed.accept_eula && believed.crashes < CRASH_BUDGET;
  if (observed.exitCode === null) {
    // Nobody is left who saw it end: the wish decides, whatever the server's rule for crashes.
    const reason = 'Its host or its guard went down while it ran';
    return { ...correct(startable ? 'server.start' : 'server.stop', reason), isCrash: true };
  }
  const restarts = startable && believed.auto_restart;
  const reason = `It ended by itself with code ${observed.exitCode}`;
  return { ...correct(restarts ? 'server.start' : 'server.stop', reason), isCrash: true };
}

function correct(kind: Correction['kind'], reason: string): Correction {
  return { kind, reason, isCrash: false };
}
