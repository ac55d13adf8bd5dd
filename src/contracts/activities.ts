import type { ErrorCode } from '#src/domain/errors.js';
import type { EndedState, OperationTrigger } from '#src/domain/operation.js';
import type { DesiredState, ServerEvent, ServerStatus } from '#src/domain/serverState.js';

/**
 * What workflows may ask of activities. Inputs hold ids and step names only: parameters are read from the operation's
 * row, so that histories stay small and hold no secrets. A failure's `type` is a code of the error table.
 */

export interface BeginOperationResult {
  /** False: it has ended, or another run carries it. */
  begun: boolean;
  trigger: OperationTrigger;
}

/** Short idempotent database steps, run as local activities. */
export interface OperationActivities {
  beginOperation(input: { operationId: string; runId: string }): Promise<BeginOperationResult>;
  /** `step` counts up within the operation. A repeated one changes nothing, one of an older operation is refused (`stale-write`). */
  transitionServer(input: {
    operationId: string;
    step: number;
    event: ServerEvent;
    reason?: string;
  }): Promise<ServerStatus>;
  markInstalled(input: { operationId: string }): Promise<void>;
  /** Puts the type and version that the operation asked for on record. */
  markUpgraded(input: { operationId: string }): Promise<void>;
  /** What the operation's server shall be, as of now. */
  readDesiredState(input: { operationId: string }): Promise<DesiredState>;
  noteUndone(input: { operationId: string; step: string }): Promise<void>;
  finishOperation(input: {
    operationId: string;
    state: EndedState | 'needs_operator';
    error?: { code: ErrorCode; detail: string };
    deleteServer?: boolean;
  }): Promise<void>;
}

export type AgentWork =
  | 'provision'
  | 'start'
  | 'stop'
  | 'kill'
  | 'delete'
  | 'installJava'
  | 'stage'
  | 'snapshot'
  | 'revert'
  | 'discard';

export interface AgentWorkInput {
  operationId: string;
  /** With the operation's id the identity of the effect at the agent. */
  step: string;
  undo?: boolean;
  /** A stop meant for the run that this step of the operation started, and no other. */
  ofRun?: string;
  /** With the type and version that the operation asks for, instead of those on record. */
  upgraded?: boolean;
}

export type ObservedProcess = 'stopped' | 'starting' | 'running' | 'stopping' | 'crashed';

export interface AgentWorkResult {
  /** The process as the agent saw it after the step. */
  process: ObservedProcess;
  exitCode: number | null;
}

/**
 * Work on an agent: submitted once by `(operation, step)`, then watched to its end; heartbeats while the agent answers.
 * Rejects non-retryably with the agent's reason when the step has definitely failed (nothing of it is left running),
 * and with a time-out when nobody knows.
 */
export type AgentActivities = Record<
  `${AgentWork}OnAgent`,
  (input: AgentWorkInput) => Promise<AgentWorkResult>
>;

/** Housekeeping, started by schedules. */
export interface ReconcileActivities {
  /** Ends rows whose workflow is gone; answers how many, and how many workflows under way have no row. */
  closeLostOperations(): Promise<{ closed: number; orphans: number }>;
  /**
   * Compares every reachable agent's processes with the rows and accepts operations where they differ, and those whose
   * time has come. `strangers`: servers that agents hold and that are not theirs.
   */
  reconcileAgents(): Promise<{ agents: number; accepted: number; strangers: number }>;
}

export interface RetentionActivities {
  /**
   * Makes the days ahead and drops those past their retention; `busy` are those that someone was reading for so long
   * that they are left for a later try.
   */
  maintainPartitions(): Promise<{ made: string[]; dropped: string[]; busy: string[]; deleted: number }>;
  /** Removes what the server of a delete operation has printed and measured. Goes on where an earlier attempt stopped. */
  removeServerTelemetry(input: { operationId: string }): Promise<{ deleted: number }>;
}

export interface HealthActivities {
  /** Pings all agents once; misses are counted once per sweep id, however often the activity is retried. */
  sweepAgents(input: { sweepId: string }): Promise<{ pinged: number; failed: number }>;
}

export interface MailActivities {
  /** Writes the mail of that row and hands it to a mail server. May send it twice, never not at all; a row that is gone was sent. */
  sendMail(input: { mailId: string }): Promise<void>;
}

export interface WebhookActivities {
  /** Calls the webhook of that delivery. May call it twice, with the same id; a row that is gone was delivered. */
  callWebhook(input: { deliveryId: string }): Promise<void>;
  /** Gives it up, and counts that against the webhook. */
  buryDelivery(input: { deliveryId: string }): Promise<void>;
}

export interface LinkActivities {
  /** Follows the event streams of a shard of agents until it is cancelled or its worker stops. */
  followAgents(input: { shard: number }): Promise<void>;
}
