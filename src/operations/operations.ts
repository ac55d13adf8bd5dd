import type { Transaction } from 'sequelize';
import type { OperationView } from '#src/contracts/operation.js';
import type { OperatorResolution } from '#src/contracts/workflows.js';
import type { OperationKind, OperationTrigger } from '#src/domain/operation.js';
import type { DesiredState } from '#src/domain/serverState.js';

export interface OperationRequest {
  kind: OperationKind;
  serverId: string;
  /** Null for what the system asks for itself. */
  requestedBy: string | null;
  trigger: OperationTrigger;
  /** What the workflow's activities will read from the row; validated by the caller, never secret. */
  params?: Record<string, unknown>;
  /** `?force` of a stop. */
  force?: boolean;
  /** Unique per requester: the same key with the same request answers the same operation, for ever. */
  idempotencyKey?: string;
  /** What "the same request" means; `{kind, serverId, params}` unless given (a create's server id is new each time). */
  fingerprint?: unknown;
  requestId?: string;
  /** What the server shall be from now on; what the kind implies (users) or unchanged (the system) unless given. */
  desiredState?: DesiredState;
  /** Why the system asks, for people. */
  reason?: string;
  /** Runs first in the accept transaction, unless the key is known: inserts the server of a create. */
  prepare?: (transaction: Transaction) => Promise<void>;
}

/** Of an agent itself. */
export type AgentOperationRequest = Pick<
  OperationRequest,
  'kind' | 'requestedBy' | 'trigger' | 'params' | 'idempotencyKey' | 'requestId' | 'prepare'
> & { agentId: string };

/** The API's only door to Temporal. */
export interface Operations {
  /**
   * One transaction, then the answer: Temporal can neither delay nor fail it. A coalesced request resolves to an
   * operation that has already ended as superseded. Rejects with `not-found`, `queue-full`, `server-deleting`,
   * `needs-operator`, `idempotency-key-reused`, or what `prepare` threw.
   */
  request(request: OperationRequest): Promise<{ operation: OperationView; replayed: boolean }>;
  /** As `request`, for what concerns no server. Rejects with `not-found`, `idempotency-key-reused`. */
  requestForAgent(request: AgentOperationRequest): Promise<{ operation: OperationView; replayed: boolean }>;
  /**
   * Ends an operation that has not begun, or tells its workflow to. Asking again changes nothing.
   * Rejects with `not-found`, `operation-finished`.
   */
  cancel(operationId: string, by: { userId: string | null; requestId?: string }): Promise<OperationView>;
  /**
   * An operator's decision about an operation that rests: `retry` and `compensate` undo again, `close` ends it as
   * failed. Rejects with `not-found`, `not-resting`, or `temporal-unavailable`, after which nothing has happened.
   */
  resolve(operationId: string, resolution: OperatorResolution): Promise<OperationView>;
}
