/**
 * The one error table. A code is the problem type of a REST answer, the `type` of a Temporal ApplicationFailure and
 * the reason (`aymc-code`) of a failed gRPC call; docs/generated/errors.md is made from here.
 */

interface ErrorFacts {
  /** HTTP status of the REST answer. */
  readonly status: number;
  /** Short and the same for every occurrence; the detail says what happened this time. */
  readonly title: string;
  /** gRPC status name that an agent or the proxy answers with. */
  readonly grpc: GrpcStatusName;
  /** Whether the same request may succeed later without anyone changing anything: Temporal retries these. */
  readonly retryable: boolean;
}

export type GrpcStatusName =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

function facts(status: number, title: string, grpc: GrpcStatusName, retryable = false): ErrorFacts {
  return { status, title, grpc, retryable };
}

export const ERRORS = {
  // Requests
  'invalid-request': facts(400, 'The request is not valid', 'INVALID_ARGUMENT'),
  'invalid-json': facts(400, 'The body is not valid JSON', 'INVALID_ARGUMENT'),
  'body-too-large': facts(413, 'The body is too large', 'RESOURCE_EXHAUSTED'),
  'unsupported-media-type': facts(415, 'The body has a type that is not taken here', 'INVALID_ARGUMENT'),
  'method-not-allowed': facts(405, 'That method is not allowed here', 'UNIMPLEMENTED'),
  'route-not-found': facts(404, 'There is no such route', 'NOT_FOUND'),
  'request-timeout': facts(408, 'The request did not arrive in time', 'DEADLINE_EXCEEDED', true),
  'rate-limited': facts(429, 'Too many requests', 'RESOURCE_EXHAUSTED', true),
  'idempotency-key-reused': facts(422, 'This Idempotency-Key belongs to another request', 'ABORTED'),

  // Who is asking
  unauthenticated: facts(401, 'Sign in first', 'UNAUTHENTICATED'),
  'invalid-credentials': facts(401, 'The username, email or password is wrong', 'UNAUTHENTICATED'),
  'token-expired': facts(401, 'The token has expired', 'UNAUTHENTICATED'),
  'token-reused': facts(
    401,
    'This refresh token was used before; its sessions have been ended',
    'UNAUTHENTICATED',
  ),
  'wrong-password': facts(400, 'The current password is wrong', 'INVALID_ARGUMENT'),
  'account-disabled': facts(401, 'This account is disabled', 'UNAUTHENTICATED'),
  'totp-required': facts(401, 'A code of the second factor is needed', 'UNAUTHENTICATED'),
  'invalid-totp': facts(401, 'The code of the second factor is wrong or was used before', 'UNAUTHENTICATED'),
  'wrong-totp': facts(400, 'The code of the second factor is wrong or was used before', 'INVALID_ARGUMENT'),
  'totp-enabled': facts(409, 'The second factor is already enabled', 'FAILED_PRECONDITION'),
  'totp-not-enrolled': facts(409, 'No second factor is enrolled', 'FAILED_PRECONDITION'),
  'invalid-reset-token': facts(400, 'The reset link is not valid any more', 'INVALID_ARGUMENT'),
  'invalid-invitation': facts(403, 'The invitation is not valid', 'PERMISSION_DENIED'),
  'insufficient-scope': facts(403, 'The API key was not made for that', 'PERMISSION_DENIED'),
  forbidden: facts(403, 'You may not do that', 'PERMISSION_DENIED'),
  'registration-closed': facts(403, 'Registration is closed', 'PERMISSION_DENIED'),

  // Things
  'not-found': facts(404, 'There is no such thing', 'NOT_FOUND'),
  'name-taken': facts(409, 'That name is taken', 'ALREADY_EXISTS'),
  'email-taken': facts(409, 'That email address is taken', 'ALREADY_EXISTS'),
  'port-taken': facts(409, 'Another server of this agent has that port', 'ALREADY_EXISTS'),
  'agent-exists': facts(409, 'There is an agent with that agent_id', 'ALREADY_EXISTS'),
  'user-in-use': facts(409, 'The user still owns servers', 'FAILED_PRECONDITION'),
  'last-admin': facts(409, 'Somebody must remain to administrate', 'FAILED_PRECONDITION'),
  'own-account': facts(409, 'Administrators cannot take their own access', 'FAILED_PRECONDITION'),
  'too-many-keys': facts(409, 'The user has as many API keys as one can have', 'FAILED_PRECONDITION'),
  'too-many-webhooks': facts(409, 'The user has as many webhooks as one can have', 'FAILED_PRECONDITION'),
  'agent-in-use': facts(409, 'The agent still holds servers', 'FAILED_PRECONDITION'),
  'no-agent': facts(409, 'No agent can take this server', 'FAILED_PRECONDITION'),

  // Operations
  'queue-full': facts(429, 'Too many operations wait for this server', 'RESOURCE_EXHAUSTED', true),
  'server-deleting': facts(409, 'The server is being deleted', 'FAILED_PRECONDITION'),
  'operation-finished': facts(409, 'The operation has already ended', 'FAILED_PRECONDITION'),
  'not-cancellable': facts(409, 'The operation can no longer be cancelled', 'FAILED_PRECONDITION'),
  'needs-operator': facts(409, 'An earlier operation waits for an operator', 'FAILED_PRECONDITION'),
  'not-resting': facts(409, 'The operation does not wait for an operator', 'FAILED_PRECONDITION'),
  superseded: facts(409, 'A newer operation took its place', 'FAILED_PRECONDITION'),
  cancelled: facts(409, 'The operation was cancelled', 'CANCELLED'),
  'lost-workflow': facts(500, 'The workflow that carried the operation is gone', 'ABORTED'),
  'compensation-failed': facts(500, 'The operation failed and could not be undone', 'ABORTED'),
  'stale-write': facts(409, 'A newer step has already written', 'ABORTED'),

  // Servers
  'not-installed': facts(409, 'The server is not installed', 'FAILED_PRECONDITION'),
  'eula-not-accepted': facts(409, 'The Minecraft EULA is not accepted', 'FAILED_PRECONDITION'),
  'server-running': facts(409, 'The server is running', 'FAILED_PRECONDITION'),
  'server-changing': facts(409, 'The server is starting or stopping', 'FAILED_PRECONDITION', true),
  'server-not-running': facts(409, 'The server is not running', 'FAILED_PRECONDITION'),
  'console-busy': facts(503, 'The server does not read its console', 'UNAVAILABLE', true),
  'console-unconfirmed': facts(504, 'The server took the command, but its list does not show it', 'ABORTED'),
  'player-unknown': facts(404, 'There is no player of that name', 'NOT_FOUND'),
  'java-missing': facts(409, 'The agent has no Java that can run this server', 'FAILED_PRECONDITION'),
  'port-in-use': facts(409, 'The port is taken on the host', 'FAILED_PRECONDITION'),
  'lease-frozen': facts(409, 'The agent’s lease is frozen', 'FAILED_PRECONDITION'),
  'no-lease': facts(503, 'The agent has no lease to run this server under', 'FAILED_PRECONDITION', true),
  'start-failed': facts(500, 'The server ended before it was ready', 'ABORTED'),
  'start-timeout': facts(504, 'The server did not become ready in time', 'ABORTED'),
  'stop-failed': facts(500, 'The server could not be stopped', 'ABORTED'),
  'install-failed': facts(500, 'The installer failed', 'ABORTED'),
  'outcome-unknown': facts(500, 'Whether it happened cannot be found out', 'ABORTED'),

  // Artefacts
  'artifact-unknown': facts(
    422,
    'It is not known where to get this server type and version',
    'FAILED_PRECONDITION',
  ),
  'checksum-mismatch': facts(502, 'The download does not have the promised checksum', 'DATA_LOSS'),
  'upstream-refused': facts(502, 'The upstream refused the download', 'FAILED_PRECONDITION'),
  'upstream-failed': facts(502, 'The upstream failed', 'UNAVAILABLE', true),
  'upstream-not-a-jar': facts(502, 'The upstream did not send a jar', 'DATA_LOSS'),
  'java-unusable': facts(502, 'The Java that was downloaded cannot be used', 'DATA_LOSS'),
  'artifact-too-large': facts(502, 'The download is larger than allowed', 'RESOURCE_EXHAUSTED'),
  'private-address': facts(400, 'URLs into private networks are not allowed', 'INVALID_ARGUMENT'),
  'disk-full': facts(507, 'The disk of the agent is full', 'RESOURCE_EXHAUSTED'),

  // Agents
  'agent-unreachable': facts(503, 'The agent does not answer', 'UNAVAILABLE', true),
  'agent-timeout': facts(504, 'The agent did not answer in time', 'DEADLINE_EXCEEDED', true),
  'agent-refused': facts(502, 'The agent refused the call', 'PERMISSION_DENIED'),
  'agent-tls': facts(502, 'The agent does not show the certificate that was pinned', 'UNAUTHENTICATED'),
  'agent-unsupported': facts(501, 'The agent cannot do that', 'UNIMPLEMENTED'),
  'agent-failed': facts(502, 'The agent failed', 'INTERNAL', true),
  'invalid-path': facts(400, 'The path leaves the server’s folder', 'INVALID_ARGUMENT'),
  'file-not-found': facts(404, 'There is no such file', 'NOT_FOUND'),
  'file-changing': facts(409, 'The file was changed while it was read', 'ABORTED', true),
  'file-exists': facts(409, 'Something has that name already', 'ALREADY_EXISTS'),
  'invalid-config': facts(422, 'The file is not what its name says', 'FAILED_PRECONDITION'),
  'folder-too-large': facts(422, 'The folder has too many entries to be listed', 'RESOURCE_EXHAUSTED'),
  'precondition-failed': facts(412, 'The file is not the one that was expected', 'FAILED_PRECONDITION'),
  'range-not-satisfiable': facts(416, 'The file ends before that range', 'INVALID_ARGUMENT'),
  'too-many-transfers': facts(429, 'Too many files are being moved', 'RESOURCE_EXHAUSTED', true),

  // Us
  'database-unavailable': facts(503, 'The database does not answer', 'UNAVAILABLE', true),
  'mail-failed': facts(502, 'The mail server did not take the mail', 'UNAVAILABLE', true),
  'webhook-failed': facts(502, 'The webhook did not take the call', 'UNAVAILABLE', true),
  'temporal-unavailable': facts(503, 'Temporal does not answer', 'UNAVAILABLE', true),
  'shutting-down': facts(503, 'The process is shutting down', 'UNAVAILABLE', true),
  internal: facts(500, 'Something broke on our side', 'INTERNAL', true),
} as const satisfies Record<string, ErrorFacts>;

export type ErrorCode = keyof typeof ERRORS;

export interface FieldError {
  /** Where in the input, e.g. `body.memory_max`. */
  path: string;
  message: string;
}

export interface AppErrorOptions {
  /** One sentence about this occurrence, fit for the caller: no secrets, no paths of ours. */
  detail?: string;
  errors?: FieldError[];
  /** Seconds after which a retry makes sense; becomes `Retry-After`. */
  retryAfterS?: number;
  cause?: unknown;
}

/** The only error that crosses a room. Everything else that is thrown is a bug and is answered as `internal`. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors: FieldError[] | undefined;
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    const detail = options.detail ?? ERRORS[code].title;
    super(`${code}: ${detail}`, { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.detail = detail;
    this.errors = options.errors;
    this.retryAfterS = options.retryAfterS;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}

/** For `switch` over unions: a new member that nobody handles fails to compile. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}
