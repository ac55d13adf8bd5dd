import type {
  AgentInfo,
  HealthStatus,
  HelloResponse,
  ServerStates,
  StreamEventsRequest,
  EventBatch,
  SystemMetrics,
  WorkKey,
  WorkRequest,
  WorkStatus,
} from '#proto/gen/agent.js';
import type { AgentFiles } from './files.js';

/** How to reach one agent. `id` is the row's UUID. */
export interface AgentAddress {
  id: string;
  host: string;
  port: number;
  tls_mode: 'pinned' | 'insecure' | 'plaintext';
  /** SHA-256 of the certificate, hex without colons; required by `pinned`. */
  tls_fingerprint: string | null;
  /** Plain; null for an agent that asks for none. */
  token: string | null;
}

export interface CallOptions {
  /** Milliseconds; the setting AGENT_GRPC_TIMEOUT when absent. No call is without one. */
  deadlineMs?: number;
  signal?: AbortSignal;
  /** Travels as metadata and reaches the agent's log. */
  requestId?: string;
}

/**
 * The only way to an agent: one channel each, a deadline on every call, errors from the one table. It never retries;
 * Temporal does. Every method rejects with an AppError: `agent-unreachable`, `agent-timeout`, `agent-tls`,
 * `agent-refused`, `agent-unsupported`, `agent-failed`, or the agent's own reason.
 */
export interface AgentGateway {
  hello(agent: AgentAddress, options?: CallOptions): Promise<HelloResponse>;
  ping(agent: AgentAddress, options?: CallOptions): Promise<{ latencyMs: number }>;
  health(agent: AgentAddress, options?: CallOptions): Promise<HealthStatus>;
  info(agent: AgentAddress, options?: CallOptions): Promise<AgentInfo>;
  metrics(agent: AgentAddress, options?: CallOptions): Promise<SystemMetrics>;
  inspectServers(agent: AgentAddress, options?: CallOptions): Promise<ServerStates>;

  /** Idempotent by `request.key`; answers at once. */
  submitWork(agent: AgentAddress, request: WorkRequest, options?: CallOptions): Promise<WorkStatus>;
  /** Every change until the terminal one; ends after it. Aborting only stops the watching. */
  watchWork(agent: AgentAddress, key: WorkKey, options?: CallOptions): AsyncIterable<WorkStatus>;
  cancelWork(agent: AgentAddress, key: WorkKey, options?: CallOptions): Promise<WorkStatus>;

  /** One line, already checked: no CR, LF or NUL, at most 4 KiB. Rejects `console-busy`, `server-not-running`. */
  sendCommand(
    agent: AgentAddress,
    command: { serverId: string; command: string; key?: WorkKey },
    options?: CallOptions,
  ): Promise<{ output: string | null }>;

  /** Endless; without `deadlineMs` it lives until aborted. Back-pressure reaches the agent. */
  streamEvents(
    agent: AgentAddress,
    request: StreamEventsRequest,
    options?: CallOptions,
  ): AsyncIterable<EventBatch>;

  readonly files: AgentFiles;

  /** Forgets the channel of an agent whose row changed or went. */
  forget(agentId: string): void;
  close(): Promise<void>;
}
