import { assertNever } from './errors.js';

export const SERVER_STATUSES = ['running', 'stopped', 'starting', 'stopping', 'error'] as const;
export type ServerStatus = (typeof SERVER_STATUSES)[number];

export const DESIRED_STATES = ['running', 'stopped'] as const;
export type DesiredState = (typeof DESIRED_STATES)[number];

/**
 * What may move a server. The first group is written by the steps of its current operation, the `observed…` group by
 * the reconciler, which reads the agent and acts only while no operation does.
 */
export const SERVER_EVENTS = [
  'startRequested',
  'ready',
  'startFailed',
  'stopRequested',
  'stopped',
  'stopFailed',
  'killed',
  'observedStarting',
  'observedRunning',
  'observedStopping',
  'observedStopped',
  'observedCrashed',
] as const;
export type ServerEvent = (typeof SERVER_EVENTS)[number];

/**
 * The one transition table, total in both arguments. Operations are fenced by their number, so an event that arrives
 * here is the newest knowledge: a state only refuses what would hide the truth (a start asked of a running server
 * changes nothing, a stop asked of a stopped one neither).
 */
export function nextStatus(status: ServerStatus, event: ServerEvent): ServerStatus {
  switch (event) {
    case 'startRequested':
      return status === 'running' ? 'running' : 'starting';
    case 'stopRequested':
      return status === 'stopped' ? 'stopped' : 'stopping';
    case 'ready':
    case 'observedRunning':
      return 'running';
    case 'observedStarting':
      return 'starting';
    case 'observedStopping':
      return 'stopping';
    case 'stopped':
    case 'killed':
      return 'stopped';
    case 'observedStopped':
      return status === 'error' ? 'error' : 'stopped';
    case 'startFailed':
    case 'stopFailed':
    case 'observedCrashed':
      return 'error';
    default:
      return assertNever(event);
  }
}
