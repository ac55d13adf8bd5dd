import type { Metadata, StatusObject } from '@grpc/grpc-js';
import type {
  AgentInfo,
  FileFacts,
  HealthStatus,
  HelloResponse,
  OpenedFile,
  ServerStates,
  StreamEventsRequest,
  EventBatch,
  SystemMetrics,
  UploadedFile,
  WorkKey,
  WorkRequest,
  WorkStatus,
} from '#proto/gen/agent.js';
import type { AppError } from '#src/domain/errors.js';

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
  /** The folder of the host that holds those of the servers; only agents of version 1 need to be told. */
  work_dir?: string | null;
}

export interface CallOptions {
  /** Milliseconds; the setting AGENT_GRPC_TIMEOUT when absent. No call is without one. */
  deadlineMs?: number;
  signal?: AbortSignal;
  /** Travels as metadata and reaches the agent's log. */
  requestId?: string;
}

/** Something in a server's folder. */
export interface FileTarget {
  serverId: string;
  /** Relative to the server's folder, tidied; empty = the folder itself. */
  path: string;
  /** The folder of the host that holds those of the servers; only agents of version 1 need to be told. */
  workDir: string | null;
}

export interface ByteRange {
  /** Negative: so many bytes before the end. */
  offset: number;
  /** 0 = to the end. */
  length: number;
}

export interface Download {
  opened: OpenedFile;
  /** Exactly `opened.length` bytes, or it throws. Iterate it, or call `return()`: the call is open until then. */
  content: Required<Pick<AsyncIterableIterator<Uint8Array>, 'next' | 'return'>> & AsyncIterable<Uint8Array>;
}

export interface UploadRules {
  /** What must be there; else `precondition-failed`. */
  expected: 'anything' | 'nothing' | { etag: string };
  createFolders: boolean;
}

/**
 * Users' files. Rejects with `file-not-found`, `invalid-path`, `not-installed`, and like every call. Bytes move at the
 * pace of the slower side, for as long as they move; `deadlineMs` counts for calls that move none. An agent of version 1
 * takes and gives files of up to 8 MiB in one piece, and all but listing, reading and writing is `agent-unsupported`.
 */
export interface AgentFiles {
  /** By name; `folder-too-large` above 10,000 entries. */
  list(agent: AgentAddress, folder: FileTarget, options?: CallOptions): Promise<FileFacts[]>;
  download(agent: AgentAddress, file: FileTarget, range: ByteRange, options?: CallOptions): Promise<Download>;
  /** The file is the new one in one step, or what it was. `content` is closed in any case. */
  upload(
    agent: AgentAddress,
    file: FileTarget,
    rules: UploadRules,
    content: AsyncIterable<Uint8Array>,
    options?: CallOptions,
  ): Promise<UploadedFile>;
  /** A folder with all that is in it. */
  remove(agent: AgentAddress, file: FileTarget, options?: CallOptions): Promise<void>;
  /** With those above it. */
  makeFolder(agent: AgentAddress, folder: FileTarget, options?: CallOptions): Promise<FileFacts>;
  /** Never over something else: `file-exists`. */
  rename(agent: AgentAddress, file: FileTarget, to: string, options?: CallOptions): Promise<FileFacts>;
}

/** A call of any kind whose messages are bytes that nobody here looks into: for whoever passes them on. */
export interface RawCallSpec {
  agent: AgentAddress;
  /** As on the wire: `/agent.AgentService/Ping`. */
  path: string;
  /** Sent as it is, but for `authorization`, which is set to the agent's token or taken away. */
  metadata: Metadata;
  /** Milliseconds since the epoch. */
  deadline: number;
  signal: AbortSignal;
}

export interface RawCallListener {
  onMetadata(metadata: Metadata): void;
  /** One for each `startRead`. */
  onMessage(message: Buffer): void;
  /** Once, and last: what the agent says, or why we ended the call ourselves. */
  onEnd(end: StatusObject | AppError): void;
}

export interface RawCall {
  startRead(): void;
  /** `taken` is called when the connection has taken the message, and never when the call is over. */
  send(message: Buffer, taken: () => void): void;
  halfClose(): void;
}

/**
 * The only way to an agent: one channel each, a deadline on every call, errors from the one table. It never retries;
 * Temporal does. Every method rejects with an AppError: `agent-unreachable`, `agent-timeout`, `agent-tls`,
 * `agent-refused`, `agent-unsupported`, `agent-failed`, or the agent's own reason.
 */
export interface AgentGateway {
  hello(agent: AgentAddress, options?: CallOptions): Promise<HelloResponse>;
  /** Asked of the agent each time: it may have been replaced. */
  isOfVersion1(agent: AgentAddress, options?: CallOptions): Promise<boolean>;
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

  /** Any call, as bytes: for the proxy, which passes on what it does not read. */
  openCall(spec: RawCallSpec, listener: RawCallListener): Promise<RawCall>;

  /** Forgets the channel of an agent whose row changed or went. */
  forget(agentId: string): void;
  close(): Promise<void>;
}
