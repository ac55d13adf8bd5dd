import { status, type Metadata, type StatusObject } from '@grpc/grpc-js';
import { AppError, ERRORS, isErrorCode, type ErrorCode } from '#src/domain/errors.js';

/** Trailing metadata key that names the reason of a failed call in the words of our own table. */
export const REASON_KEY = 'aymc-code';

const MAX_DETAIL_CHARS = 300;
/** RESOURCE_EXHAUSTED says "not now": worth a pause before the next attempt. */
const EXHAUSTED_RETRY_AFTER_S = 5;

/**
 * For agents that give no reason of ours: version 1, a proxy on the way, or grpc-js itself. `CANCELLED` is here for
 * calls that the other side broke off; our own aborts never come this way. Partial, because any number may arrive.
 */
const CODE_OF_STATUS: Partial<Record<number, ErrorCode>> = {
  [status.OK]: 'agent-failed',
  [status.CANCELLED]: 'agent-unreachable',
  [status.UNKNOWN]: 'agent-failed',
  [status.INVALID_ARGUMENT]: 'invalid-request',
  [status.DEADLINE_EXCEEDED]: 'agent-timeout',
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'agent-refused',
  [status.PERMISSION_DENIED]: 'agent-refused',
  [status.RESOURCE_EXHAUSTED]: 'agent-failed',
  [status.FAILED_PRECONDITION]: 'agent-refused',
  [status.ABORTED]: 'agent-failed',
  [status.OUT_OF_RANGE]: 'agent-refused',
  [status.UNIMPLEMENTED]: 'agent-unsupported',
  [status.INTERNAL]: 'agent-failed',
  [status.UNAVAILABLE]: 'agent-unreachable',
  [status.DATA_LOSS]: 'agent-failed',
  [status.UNAUTHENTICATED]: 'agent-refused',
} satisfies Record<status, ErrorCode>;

/** Agents of version 1 say in prose that something is not there. */
export function saysMissing({ detail }: AppError): boolean {
  return /no such file|not (found|exist)/i.test(detail);
}

/** A failed call, as the rest of the house sees it. The agent's own reason wins when our table has it. */
export function agentError(failure: StatusObject): AppError {
  const code = reasonOf(failure.metadata) ?? CODE_OF_STATUS[failure.code] ?? 'agent-failed';
  // What grpc-js says about a deadline is for its own developers.
  const detail = code === 'agent-timeout' ? '' : oneSentence(failure.details);
  return new AppError(code, {
    ...(detail === '' ? {} : { detail }),
    ...(failure.code === status.RESOURCE_EXHAUSTED ? { retryAfterS: EXHAUSTED_RETRY_AFTER_S } : {}),
    cause: failure,
  });
}

/**
 * True when the connection itself is in doubt: it broke, or (with `timeoutCastsDoubt`) nothing came back in time. An
 * agent that gives a reason has answered, so its connection is sound.
 */
export function castsDoubtOnChannel(failure: StatusObject, timeoutCastsDoubt: boolean): boolean {
  if (reasonOf(failure.metadata) !== undefined) return false;
  const { code } = failure;
  if (code === status.DEADLINE_EXCEEDED) return timeoutCastsDoubt;
  return code === status.UNAVAILABLE || code === status.CANCELLED;
}

/**
 * What an agent thinks of *our* credentials must not read as what we think of our user's (a 401 signs people out), and
 * its internal error is not ours.
 */
function reasonOf(metadata: Metadata): ErrorCode | undefined {
  const [reason] = metadata.get(REASON_KEY);
  if (!isErrorCode(reason)) return undefined;
  if (reason === 'internal') return 'agent-failed';
  return ERRORS[reason].status === 401 || ERRORS[reason].status === 403 ? 'agent-refused' : reason;
}

/** Agents are of many makes: no stack traces, no control characters and no essays reach our users. */
function oneSentence(details: string): string {
  const [firstLine = ''] = details.trim().split(/[\r\n]/, 1);
  return firstLine.replace(/\p{Cc}+/gu, ' ').slice(0, MAX_DETAIL_CHARS);
}
