import type { OperationKind } from '#src/domain/operation.js';

/** What every operation's workflow is started with: the row holds the rest, and it never changes. */
export interface OperationInput {
  operationId: string;
}

/** The workflow type that carries each kind; null = not carried by this version, so not accepted either. */
export const WORKFLOW_TYPES = {
  'server.provision': 'provisionServer',
  'server.start': 'startServer',
  'server.stop': 'stopServer',
  'server.restart': 'restartServer',
  'server.kill': 'killServer',
  'server.delete': 'deleteServer',
  'server.move': null,
  'server.failover': null,
  'server.upgrade': 'upgradeServer',
  'backup.create': null,
  'backup.restore': null,
  'backup.delete': null,
  'backup.verify': null,
  'plugin.install': null,
  'plugin.update': null,
  'plugin.remove': null,
  'plugin.enable': null,
  'plugin.disable': null,
  'agent.drain': null,
  'agent.install_java': 'installJava',
} as const satisfies Record<OperationKind, string | null>;

/** Query for operators: where an operation stands. The product itself reads Postgres. */
export const PROGRESS_QUERY = 'getProgress';
/** Signal: an operator's decision about an operation that rests in `needs_operator`. */
export const RESOLVE_SIGNAL = 'resolve';

export const RESOLUTIONS = ['retry', 'compensate', 'close'] as const;
export interface OperatorResolution {
  /** `retry` and `compensate` run the undo again, `close` ends the operation as it is. */
  action: (typeof RESOLUTIONS)[number];
  note: string;
  by: string;
}
