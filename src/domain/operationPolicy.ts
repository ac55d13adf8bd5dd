import { assertNever, type ErrorCode } from './errors.js';
import type { OperationKind, OperationTrigger } from './operation.js';
import type { DesiredState } from './serverState.js';

/** At most this many operations wait behind the current one of a server. */
export const MAX_QUEUED = 20;

/** An operation of the server that has not ended: the current one first, then the queue by op_seq. */
export interface PendingOperation {
  id: string;
  kind: OperationKind;
  /** Whether it has been told to end; nothing joins it any more. */
  cancelling: boolean;
  /** Rests until an operator resolves it. */
  needsOperator: boolean;
}

export interface IncomingOperation {
  kind: OperationKind;
  /** `?force`: a stop that does not wait for a backup. */
  force: boolean;
}

export type Resolution =
  /** Nothing in the way: it becomes the current operation. `cancel` is told to end and loses its place at once. */
  | { action: 'run'; cancel: string | null; supersede: string[] }
  /** Runs at once without taking the place of the current operation. */
  | { action: 'beside' }
  /** Waits. `cancel` (the current one) is told to end; those of the queue in `supersede` end unbegun. */
  | { action: 'queue'; cancel: string | null; supersede: string[] }
  /** Ends at once as superseded by `into`, which already does what was asked. */
  | { action: 'coalesce'; into: string; supersede: string[] }
  | { action: 'refuse'; code: ErrorCode };

type Class = 'start' | 'stop' | 'kill' | 'delete' | 'exclusive' | 'background';

/** How a kind behaves towards others. */
const CLASS: Record<OperationKind, Class> = {
  'server.provision': 'background',
  'server.start': 'start',
  'server.stop': 'stop',
  'server.restart': 'start',
  'server.kill': 'kill',
  'server.delete': 'delete',
  'server.move': 'exclusive',
  'server.failover': 'exclusive',
  'server.upgrade': 'exclusive',
  'backup.create': 'background',
  'backup.restore': 'exclusive',
  'backup.delete': 'background',
  'backup.verify': 'background',
  'plugin.install': 'exclusive',
  'plugin.update': 'exclusive',
  'plugin.remove': 'exclusive',
  'plugin.enable': 'exclusive',
  'plugin.disable': 'exclusive',
  'agent.drain': 'exclusive',
  'agent.install_java': 'background',
};

/**
 * What becomes of an incoming operation, given those of the server that have not ended. Total and pure; the accept
 * transaction calls it under the server's row lock and does what it says.
 *
 * The rule behind the cases: the user who spoke last wins. A stop (or delete) withdraws starts that have not begun and
 * preempts one that has; a start waits for a stop; a kill waits for nobody; what is already being done is joined.
 */
export function resolve(pending: readonly PendingOperation[], incoming: IncomingOperation): Resolution {
  const [current, ...queue] = pending;
  const kind = CLASS[incoming.kind];
  if (!current) return { action: 'run', cancel: null, supersede: [] };
  if (pending.some(op => CLASS[op.kind] === 'delete' && !op.cancelling)) return besideDelete(pending, kind);
  if (kind === 'kill') return resolveKill(current, queue);
  if (current.needsOperator) return { action: 'refuse', code: 'needs-operator' };

  const withdrawn = kind === 'stop' || kind === 'delete' ? queue.filter(op => isWithdrawnBy(op, kind)) : [];
  const supersede = withdrawn.map(op => op.id);
  const rest = queue.filter(op => !withdrawn.includes(op));
  const last = rest.at(-1) ?? current;
  if (joins(last, incoming)) return { action: 'coalesce', into: last.id, supersede };
  if (rest.length >= MAX_QUEUED) return { action: 'refuse', code: 'queue-full' };
  const cancel = !current.cancelling && preempts(current, incoming) ? current.id : null;
  return { action: 'queue', cancel, supersede };
}

/** Nothing comes after a delete; a second one is the first. */
function besideDelete(pending: readonly PendingOperation[], kind: Class): Resolution {
  const deletion = pending.find(op => CLASS[op.kind] === 'delete');
  if (kind === 'delete' && deletion) return { action: 'coalesce', into: deletion.id, supersede: [] };
  return { action: 'refuse', code: 'server-deleting' };
}

function resolveKill(current: PendingOperation, queue: readonly PendingOperation[]): Resolution {
  if (CLASS[current.kind] === 'kill' && !current.cancelling) {
    return { action: 'coalesce', into: current.id, supersede: [] };
  }
  const power: Class[] = ['start', 'stop', 'kill'];
  // A backup or an install goes on and sees a crash; what rests for an operator keeps resting.
  if (current.needsOperator || !power.includes(CLASS[current.kind])) return { action: 'beside' };
  const supersede = queue.filter(op => power.includes(CLASS[op.kind])).map(op => op.id);
  return { action: 'run', cancel: current.id, supersede };
}

function isWithdrawnBy(op: PendingOperation, kind: 'stop' | 'delete'): boolean {
  return kind === 'delete' || CLASS[op.kind] === 'start';
}

/** Whether `last`, after which `incoming` would run, already brings about what is asked. */
function joins(last: PendingOperation, incoming: IncomingOperation): boolean {
  if (last.cancelling || last.needsOperator) return false;
  if (last.kind === incoming.kind)
    return CLASS[last.kind] !== 'exclusive' && CLASS[last.kind] !== 'background';
  // A restart of a server that is only just starting is that start. A start behind a restart is the restart.
  return CLASS[last.kind] === 'start' && CLASS[incoming.kind] === 'start';
}

function preempts(current: PendingOperation, incoming: IncomingOperation): boolean {
  switch (CLASS[incoming.kind]) {
    case 'stop':
      return CLASS[current.kind] === 'start' || (incoming.force && current.kind === 'backup.create');
    case 'delete':
      return CLASS[current.kind] !== 'stop' && CLASS[current.kind] !== 'kill';
    default:
      return false;
  }
}

/**
 * What the server shall be once someone has asked for this, whether or not it comes about. The system's own requests
 * follow that wish and don't change it.
 */
export function desiredStateAfter(kind: OperationKind, trigger: OperationTrigger): DesiredState | undefined {
  if (trigger === 'reconcile' || trigger === 'failover') return undefined;
  switch (CLASS[kind]) {
    case 'start':
      return 'running';
    case 'stop':
    case 'kill':
    case 'delete':
      return 'stopped';
    case 'exclusive':
    case 'background':
      return undefined;
    default:
      return assertNever(CLASS[kind]);
  }
}
