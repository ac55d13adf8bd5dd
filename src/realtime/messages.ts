import type { Message } from '#src/contracts/events.js';
import type { LogEntryView } from '#src/contracts/logEntry.js';
import type { NotificationView } from '#src/contracts/notification.js';
import type { ServerMetricsView } from '#src/contracts/metrics.js';
import type { OperationEventView, OperationView } from '#src/contracts/operation.js';
import type { AgentStatus } from '#src/db/types.js';
import type { ErrorCode } from '#src/domain/errors.js';
import type { ServerStatus } from '#src/domain/serverState.js';

/** `server:<id>:status` */
export interface ServerStatusData {
  server_id: string;
  status: ServerStatus;
  /** Null in a first message, when the status has never changed. */
  previous_status: ServerStatus | null;
  operation_id?: string;
  reason?: string;
}

/** `server:<id>:operations` and `operation:<id>` */
export interface OperationData {
  /** As it is now, which may be further on than the event. */
  operation: OperationView;
  event: OperationEventView;
}

/** `agents` */
export interface AgentStatusData {
  id: string;
  agent_id: string;
  hostname: string;
  status: AgentStatus;
  version: string | null;
  cordoned: boolean;
  quarantined: boolean;
  maintenance_until: string | null;
  last_seen: string | null;
}

/**
 * Any channel: why it ends, or what was left out in it, right after the message's cursor; of very much not all is
 * counted (`at_least`). With an empty channel: why the connection ends.
 */
export type ErrorData =
  { code: ErrorCode; detail: string } | { code: 'dropped'; dropped: number; at_least?: true };

export function statusMessage(
  channel: string,
  data: ServerStatusData,
  at: string,
  cursor: string,
): Message<ServerStatusData> {
  return { type: 'server_status', channel, data, timestamp: at, cursor };
}

export function operationMessage(
  channel: string,
  data: OperationData,
  cursor: string,
): Message<OperationData> {
  return { type: 'operation', channel, data, timestamp: data.event.at, cursor };
}

export function logMessage(channel: string, data: LogEntryView): Message<LogEntryView> {
  return { type: 'log_entry', channel, data, timestamp: data.timestamp, cursor: data.cursor };
}

export function metricsMessage(
  channel: string,
  data: ServerMetricsView,
  cursor: string,
): Message<ServerMetricsView> {
  return { type: 'metrics', channel, data, timestamp: data.timestamp, cursor };
}

export function agentMessage(channel: string, data: AgentStatusData): Message<AgentStatusData> {
  return { type: 'agent_status', channel, data, timestamp: new Date().toISOString(), cursor: null };
}

export function notificationMessage(
  channel: string,
  data: NotificationView,
  cursor: string,
): Message<NotificationView> {
  const type = data.type === 'alert' ? 'alert' : 'notification';
  return { type, channel, data, timestamp: data.created_at, cursor };
}

export function errorMessage(
  channel: string,
  data: ErrorData,
  cursor: string | null = null,
): Message<ErrorData> {
  return { type: 'error', channel, data, timestamp: new Date().toISOString(), cursor };
}
