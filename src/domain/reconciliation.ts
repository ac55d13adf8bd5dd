import { assertNever } from './errors.js';
import type { DesiredState, ServerStatus } from './serverState.js';

/** What we believe of a server that no operation is working on. */
export interface BelievedServer {
  status: ServerStatus;
  desired_state: DesiredState;
  installed: boolean;
  accept_eula: boolean;
  /** Set while it is believed to run: its host has booted since, and it is to come back. */
  restart_after: Date | null;
}

/** What its agent says. */
export interface ObservedServer {
  process: 'stopped' | 'starting' | 'running' | 'stopping' | 'crashed';
  /** Null: nobody saw it end, e.g. the host went down, or it never ran there. */
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
  /** Counted, told, and followed by a restart as its budget allows. */
  isCrash: boolean;
}

/**
 * The operation that brings belief, wish and observation together again; null when they agree or the process is on its
 * way. The reconciler never acts by itself: a correction is an operation like any other, with a recorded end.
 */
export function correctionFor(believed: BelievedServer, observed: ObservedServer): Correction | null {
  switch (observed.process) {
    case 'running':
      if (believed.desired_state === 'stopped') return correct('server.stop', 'It runs and should not');
      return believed.status === 'running' ? null : correct('server.start', 'It runs already');
    case 'starting':
      return believed.desired_state === 'stopped' ? correct('server.stop', 'It starts and should not') : null;
    case 'stopping':
      return null;
    case 'stopped':
    case 'crashed':
      if (observed.lease !== undefined) return afterLease(believed, observed.lease);
      return isAlive(believed.status) ? endOf(believed, observed) : null;
    default:
      return assertNever(observed.process);
  }
}

function isAlive(status: ServerStatus): boolean {
  return status !== 'stopped' && status !== 'error';
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

/** What the end of a process that was believed alive means. A crash is what nothing else explains. */
function endOf(believed: BelievedServer, observed: ObservedServer): Correction {
  if (believed.desired_state === 'stopped') return correct('server.stop', 'It has ended');
  if (believed.restart_after !== null) return correct('server.stop', 'Its host went down while it ran');
  const wasStopped = observed.process === 'stopped' && observed.exitCode !== null;
  // Somebody's will, whatever its exit code: `stop` on the console, or SIGTERM by the host.
  if (wasStopped && believed.status === 'running') {
    return { ...correct('server.stop', 'It was stopped from within'), desiredState: 'stopped' };
  }
  // Only a restart stops what shall run: its workflow was lost between the stop and the start.
  if (wasStopped && believed.status !== 'running') {
    return correct('server.start', 'It was stopped to be started again');
  }
  return { ...correct('server.stop', 'It ended by itself'), isCrash: true };
}

function correct(kind: Correction['kind'], reason: string): Correction {
  return { kind, reason, isCrash: false };
}
