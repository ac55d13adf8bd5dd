/** Every kind of operation there is; what must know all of them is a `Record<OperationKind, …>`. */
export const OPERATION_KINDS = [
  'server.provision',
  'server.start',
  'server.stop',
  'server.restart',
  'server.kill',
  'server.delete',
  'server.move',
  'server.failover',
  'server.upgrade',
  'backup.create',
  'backup.restore',
  'backup.delete',
  'backup.verify',
  'plugin.install',
  'plugin.update',
  'plugin.remove',
  'plugin.enable',
  'plugin.disable',
  'agent.drain',
  'agent.install_java',
] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];

export const OPERATION_STATES = [
  'accepted',
  'running',
  'succeeded',
  'failed',
  'cancelled',
  'compensated',
  'needs_operator',
] as const;
export type OperationState = (typeof OPERATION_STATES)[number];

/** The ends. `needs_operator` is a rest, not an end: someone must resolve it. */
export const ENDED_STATES = [
  'succeeded',
  'failed',
  'cancelled',
  'compensated',
] as const satisfies OperationState[];
export type EndedState = (typeof ENDED_STATES)[number];

export function hasEnded(state: OperationState): state is EndedState {
  return (ENDED_STATES as readonly OperationState[]).includes(state);
}

export const OPERATION_TRIGGERS = ['user', 'schedule', 'failover', 'reconcile'] as const;
export type OperationTrigger = (typeof OPERATION_TRIGGERS)[number];

export interface OperationProgress {
  phase: string;
  /** 0–100, or null while it can't be known. */
  percent: number | null;
  message: string;
  bytes_done: number | null;
  bytes_total: number | null;
}
