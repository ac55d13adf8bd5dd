import type { ErrorCode } from '#src/domain/errors.js';
import type {
  OperationKind,
  OperationProgress,
  OperationState,
  OperationTrigger,
} from '#src/domain/operation.js';
import type { ServerStatus } from '#src/domain/serverState.js';

/** An operation as REST and sockets show it. Times are ISO 8601 in UTC. */
export interface OperationView {
  id: string;
  kind: OperationKind;
  state: OperationState;
  server_id: string | null;
  agent_id: string | null;
  requested_by: string | null;
  trigger: OperationTrigger;
  progress: OperationProgress | null;
  error: { code: ErrorCode; detail: string } | null;
  superseded_by: string | null;
  /** Set once someone asked for its end, until it has ended. */
  cancel_requested_at: string | null;
  workflow_id: string;
  run_id: string | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** What happened to an operation, in its order (`seq` from 1, without holes) and in its server's (`server_seq`). */
export interface OperationEventView {
  operation_id: string;
  seq: number;
  server_id: string | null;
  server_seq: number | null;
  type: OperationEventType;
  data: OperationEventData;
  at: string;
}

export const OPERATION_EVENT_TYPES = [
  /** Acknowledged; from here on it ends in exactly one way. */
  'accepted',
  /** Waits behind another of the same server. */
  'queued',
  /** A workflow has begun it. */
  'started',
  /** The server's status moved: `data.status`, `data.previous_status`. */
  'status_changed',
  /** `data.progress`. */
  'progressed',
  /** Someone asked for its end. */
  'cancel_requested',
  /** A step that had happened was undone. */
  'undone',
  'succeeded',
  'failed',
  'cancelled',
  'compensated',
  'needs_operator',
] as const;
export type OperationEventType = (typeof OPERATION_EVENT_TYPES)[number];

export interface OperationEventData {
  status?: ServerStatus;
  previous_status?: ServerStatus;
  progress?: OperationProgress;
  error?: { code: ErrorCode; detail: string };
  superseded_by?: string;
  /** Who or what caused it, in words for people. */
  reason?: string;
}
