import {
  type handleClientStreamingCall,
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

/**
 * As `unary`, for a stream of answers. The stream ends when `handle` resolves; a hang-up aborts its signal, and so does a
 * caller that takes nothing for `idleMs`.
 */
export function serverStream<Req, Res>(
  deps: HandlerDeps,
  handle: (request: Req, out: Out<Res>, context: CallContext) => Promise<void>,
  idleMs = Infinity,
): handleServerStreamingCall<Req, Res> {
  return call => {
    const log = callLog(deps.log, call.getPath(), call.metadata);
    const abort = new AbortController();
    const hangUp = (): void => abort.abort(new AgentError('cancelled', 'the caller hung up'));
    call.on('cancelled', hangUp);
    call.on('close', hangUp);
    const giveUp = (): void => {
      const error = new AgentError('agent-timeout', `the caller took nothing for ${idleMs} ms`);
      abort.abort(error);
      call.emit('error', logged(log, error));
    };
    const out: Out<Res> = {
      write: message =>
        new Promise((resolve, reject) => {
          if (abort.signal.aborted) return reject(abort.signal.reason);
          const idle = Number.isFinite(idleMs) ? setTimeout(giveUp, idleMs) : undefined;
          const end = (): void => {
            clearTimeout(idle);
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

/** As `unary`, for a stream of requests: each must come within `idleMs` of when it is waited for. */
export function clientStream<Req, Res>(
  deps: HandlerDeps,
  handle: (requests: AsyncIterable<Req>, context: CallContext) => Promise<Res>,
  idleMs: number,
): handleClientStreamingCall<Req, Res> {
  return (call, callback) => {
    const log = callLog(deps.log, call.getPath(), call.metadata);
    const abort = new AbortController();
    call.on('cancelled', () => abort.abort(new AgentError('cancelled', 'the caller hung up')));
    // Whoever iterates sees the error; one that comes afterwards would end the process.
    call.on('error', () => undefined);
    const incoming: AsyncIterable<Req> = call;
    const answer = async (): Promise<Res> => {
      deps.authorize(call.metadata);
      const requests = withoutPauses(incoming, abort, idleMs);
      return handle(requests, { signal: abort.signal, metadata: call.metadata, log });
    };
    answer().then(
      response => callback(null, response),
      (error: unknown) => callback(logged(log, toAgentError(error))),
    );
  };
}

async function* withoutPauses<T>(
  incoming: AsyncIterable<T>,
  abort: AbortController,
  idleMs: number,
): AsyncGenerator<T> {
  const iterator = incoming[Symbol.asyncIterator]();
  try {
    for (;;) {
      const idle = setTimeout(
        () => abort.abort(new AgentError('agent-timeout', `nothing came for ${idleMs} ms`)),
        idleMs,
      );
      const next = await orAborted(iterator.next(), abort.signal).finally(() => clearTimeout(idle));
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: behind a `next` that waits, this would wait too.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** A race of many works against one signal would remember each of them until the signal's end; this does not. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
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
