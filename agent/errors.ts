import { status } from '@grpc/grpc-js';

/** The codes of the control plane's error table that an agent answers with, each with its gRPC status. */
export const CODES = {
  'invalid-request': status.INVALID_ARGUMENT,
  'invalid-path': status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  'not-found': status.NOT_FOUND,
  'file-not-found': status.NOT_FOUND,
  'file-exists': status.ALREADY_EXISTS,
  'file-changing': status.ABORTED,
  'folder-too-large': status.RESOURCE_EXHAUSTED,
  'precondition-failed': status.FAILED_PRECONDITION,
  'too-many-transfers': status.RESOURCE_EXHAUSTED,
  'body-too-large': status.RESOURCE_EXHAUSTED,
  superseded: status.FAILED_PRECONDITION,
  cancelled: status.CANCELLED,
  'outcome-unknown': status.ABORTED,
  'not-installed': status.FAILED_PRECONDITION,
  'eula-not-accepted': status.FAILED_PRECONDITION,
  'server-running': status.FAILED_PRECONDITION,
  'server-not-running': status.FAILED_PRECONDITION,
  'console-busy': status.UNAVAILABLE,
  'java-missing': status.FAILED_PRECONDITION,
  'java-unusable': status.DATA_LOSS,
  'port-in-use': status.FAILED_PRECONDITION,
  'no-lease': status.FAILED_PRECONDITION,
  'start-failed': status.ABORTED,
  'start-timeout': status.ABORTED,
  'stop-failed': status.ABORTED,
  'install-failed': status.ABORTED,
  'artifact-unknown': status.FAILED_PRECONDITION,
  'checksum-mismatch': status.DATA_LOSS,
  'upstream-refused': status.FAILED_PRECONDITION,
  'upstream-failed': status.UNAVAILABLE,
  'upstream-not-a-jar': status.DATA_LOSS,
  'artifact-too-large': status.RESOURCE_EXHAUSTED,
  'private-address': status.INVALID_ARGUMENT,
  'disk-full': status.RESOURCE_EXHAUSTED,
  'agent-timeout': status.DEADLINE_EXCEEDED,
  'agent-unsupported': status.UNIMPLEMENTED,
  'agent-failed': status.INTERNAL,
  'shutting-down': status.UNAVAILABLE,
} as const satisfies Record<string, status>;

export type Code = keyof typeof CODES;

/** The only error that leaves the agent; everything else that is thrown is a bug and is answered as `agent-failed`. */
export class AgentError extends Error {
  constructor(
    readonly code: Code,
    /** One sentence about this occurrence: no secrets, no query strings. */
    readonly detail: string,
    options?: { cause?: unknown },
  ) {
    super(`${code}: ${detail}`, options);
    this.name = 'AgentError';
  }
}

/** What an unexpected throw becomes at the edge; a full disk is recognised wherever it strikes. */
export function toAgentError(error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  if (errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT') {
    return new AgentError('disk-full', 'the disk is full', { cause: error });
  }
  return new AgentError('agent-failed', 'the agent failed; its log says why', { cause: error });
}

/** Of what the host's tools say, in English. */
export function saysDiskFull(text: string): boolean {
  return /No space left|quota exceeded/i.test(text);
}

/** `ENOENT` and its kind, of an error thrown by node:fs and others. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

export function isMissing(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
}

/** For `switch` over unions: a new member that nobody handles fails to compile. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}
