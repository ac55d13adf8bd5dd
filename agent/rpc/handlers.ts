import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type StatusObject,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AgentError, CODES, toAgentError } from '../errors.js';
import type { Authorize } from './auth.js';

export interface CallContext {
  /** Aborted when the caller hangs up, its deadline or ours passes. */
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
  readonly log: Logger;
}

export interface Out<T> {
  /** Resolves when the caller takes more: waiting for it is what bounds our memory. */
  write(message: T): Promise<void>;
}

export interface HandlerDeps {
  readonly authorize: Authorize;
  readonly log: Logger;
}

/** What an ordinary call may take; those that wait for a process or a download say so themselves. */
export const UNARY_LIMIT_MS = 30_000;

/** Wraps a function into a unary handler: authorised, bounded in time, logged with the caller's request id. */
export function unary<Req, Res>(
  deps: HandlerDeps,
  handle: (request: Req, context: CallContext) => Promise<Res> | Res,
  limitMs = UNARY_LIMIT_MS,
): handleUnaryCall<Req, Res> {
  return (call, callback) => {
    const log = callLog(deps.log, call.getPath(), call.metadata);
    const abort = new AbortController();
    call.on('cancelled', () => abort.abort(new AgentError('cancelled', 'the caller hung up')));
    const limit = setTimeout(
      () => abort.abort(new AgentError('agent-timeout', `took more than ${limitMs} ms`)),
      limitMs,
    );
    const began = performance.now();

    const answer = async (): Promise<Res> => {
      deps.authorize(call.metadata);
      return handle(call.request, { signal: abort.signal, metadata: call.metadata, log });
    };
    Promise.race([answer(), rejectOnAbort(abort.signal)])
      .then(
        response => {
          log.debug({ ms: Math.round(performance.now() - began) }, 'answered');
          callback(null, response);
        },
        (error: unknown) => callback(logged(log, toAgentError(error))),
      )
      .finally(() => clearTimeout(limit));
  };
}

/** As `unary`, for a stream of answers. The stream ends when `handle` resolves; a hang-up aborts its signal. */
export function serverStream<Req, Res>(
  deps: HandlerDeps,
  handle: (request: Req, out: Out<Res>, context: CallContext) => Promise<void>,
): handleServerStreamingCall<Req, Res> {
  return call => {
    const log = callLog(deps.log, call.getPath(), call.metadata);
    const abort = new AbortController();
    const hangUp = (): void => abort.abort(new AgentError('cancelled', 'the caller hung up'));
    call.on('cancelled', hangUp);
    call.on('close', hangUp);
    const out: Out<Res> = {
      write: message =>
        new Promise((resolve, reject) => {
          if (abort.signal.aborted) return reject(abort.signal.reason);
          const end = (): void => {
            abort.signal.removeEventListener('abort', end);
            resolve();
          };
          abort.signal.addEventListener('abort', end);
          call.write(message, end);
        }),
    };
    const stream = async (): Promise<void> => {
      deps.authorize(call.metadata);
      await handle(call.request, out, { signal: abort.signal, metadata: call.metadata, log });
    };
    stream().then(
      () => call.end(),
      (error: unknown) => {
        if (!abort.signal.aborted) call.emit('error', logged(log, toAgentError(error)));
      },
    );
  };
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function callLog(log: Logger, path: string, metadata: Metadata): Logger {
  const [requestId] = metadata.get('request-id');
  const [opId] = metadata.get('op-id');
  return log.child({
    rpc: path.slice(path.lastIndexOf('/') + 1),
    ...(requestId === undefined ? {} : { request_id: String(requestId).slice(0, 200) }),
    ...(opId === undefined ? {} : { op_id: String(opId).slice(0, 200) }),
  });
}

/** Bugs are errors in our log; everything else is the caller's business. */
function logged(log: Logger, error: AgentError): Error & Partial<StatusObject> {
  if (error.code === 'agent-failed') log.error({ err: error.cause ?? error }, 'call broke');
  else log.info({ code: error.code, detail: error.detail }, 'call refused');
  const metadata = new Metadata();
  metadata.set('aymc-code', error.code);
  return Object.assign(new Error(error.detail), { code: CODES[error.code], details: error.detail, metadata });
}
