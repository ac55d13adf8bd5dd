import {
  Metadata,
  type Client,
  type ClientReadableStream,
  type Interceptor,
  type ClientWritableStream,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js';
import { AppError } from '#src/domain/errors.js';
import { CallScope } from './callScope.js';
import type { Channel, ChannelPool } from './channelPool.js';
import { Demand } from './demand.js';
import { agentError, castsDoubtOnChannel } from './errors.js';
import type { AgentAddress, CallOptions, RawCall, RawCallListener, RawCallSpec } from './gateway.js';
import { startRawCall } from './rawCall.js';

/** The part of a generated method definition that a client needs. */
interface Method<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (value: Buffer) => Response;
}

export interface CallSpec<Request, Response> {
  agent: AgentAddress;
  method: Method<Request, Response>;
  request: Request;
  options: CallOptions;
  /** Beside request id and authorization. */
  metadata?: Record<string, string>;
}

/** Takes as long as bytes move: no deadline, but none of them may keep us waiting for longer than `idleMs`. */
interface Transfer {
  idleMs: number;
}

export interface Calls {
  unary<Request, Response>(spec: CallSpec<Request, Response>): Promise<Response>;
  /**
   * Nothing is sent before the first `next()`. Messages leave the wire only as fast as they are consumed.
   * `return()` cancels the call at once, even while a `next()` waits; that one then ends as done.
   */
  stream<Request, Response>(
    spec: CallSpec<Request, Response> & { endless?: boolean },
  ): AsyncIterable<Response>;
  /** As `stream`, of bytes that are moved. */
  download<Request, Response>(spec: CallSpec<Request, Response> & Transfer): AsyncIterable<Response>;
  /**
   * Sends messages as fast as the agent takes them, and is answered once. `messages` is closed when the call ends first;
   * what it throws is thrown, and the agent sees the call broken off.
   */
  upload<Request, Response>(
    spec: Omit<CallSpec<Request, Response>, 'request'> & Transfer,
    messages: AsyncIterable<Request>,
  ): Promise<Response>;
  /** Resolves when the call is on its way; rejects as the others when it cannot be. */
  open(spec: RawCallSpec, listener: RawCallListener): Promise<RawCall>;
  /** Ends every call in flight as `shutting-down` and refuses new ones. */
  abortAll(): void;
}

export interface CallsDeps {
  pool: ChannelPool;
  defaultDeadlineMs: number;
}

export function createCalls({ pool, defaultDeadlineMs }: CallsDeps): Calls {
  /** A scope leaves when its call ends, and every call ends: by its deadline, an abort or the peer. */
  const inFlight = new Set<CallScope>();
  let closed = false;

  function openScope(deadlineMs: number, signal: AbortSignal | undefined): CallScope {
    if (closed) throw new AppError('shutting-down');
    const scope = new CallScope(deadlineMs, signal, () => inFlight.delete(scope));
    inFlight.add(scope);
    return scope;
  }

  async function unary<Request, Response>(spec: CallSpec<Request, Response>): Promise<Response> {
    const { deadlineMs = defaultDeadlineMs, signal } = spec.options;
    const scope = openScope(deadlineMs, signal);
    const channel = pool.acquire(spec.agent);
    try {
      const client = channel.client ?? (await scope.whileOpen(channel.opening));
      return await request(client, spec, scope);
    } catch (error) {
      throw failure(error, scope, channel, true);
    } finally {
      scope.end();
    }
  }

  async function* messages<Request, Response>(
    spec: CallSpec<Request, Response> & { endless?: boolean } & Partial<Transfer>,
    stop: AbortSignal,
  ): AsyncGenerator<Response, void> {
    const { deadlineMs = spec.endless ? Infinity : defaultDeadlineMs, signal } = spec.options;
    const scope = openScope(deadlineMs, signal);
    stop.addEventListener('abort', () => scope.abort(new AppError('cancelled')), { once: true });
    const channel = pool.acquire(spec.agent);
    let call: ClientReadableStream<Response> | undefined;
    try {
      const client = channel.client ?? (await scope.whileOpen(channel.opening));
      if (spec.idleMs === undefined) {
        const demand = new Demand();
        call = openStream(client, spec, scope, [demand.interceptor]);
        yield* demand.messagesOf(call);
      } else {
        // Read ahead, as far as the flow control lets it: one message a round trip would be slow over a long way.
        call = openStream(client, spec, scope);
        const incoming: AsyncIterable<Response> = call;
        yield* withoutPauses(incoming, scope, spec.idleMs);
      }
    } catch (error) {
      if (stop.aborted) return;
      // That a stream lasted to its deadline is no bad sign: keepalive watches over its connection.
      throw failure(error, scope, channel, false);
    } finally {
      call?.cancel();
      scope.end();
    }
  }

  async function upload<Request, Response>(
    spec: Omit<CallSpec<Request, Response>, 'request'> & Transfer,
    outgoing: AsyncIterable<Request>,
  ): Promise<Response> {
    const scope = openScope(Infinity, spec.options.signal);
    const channel = pool.acquire(spec.agent);
    const source = outgoing[Symbol.asyncIterator]();
    try {
      const client = channel.client ?? (await scope.whileOpen(channel.opening));
      const refuse = (error: unknown) => scope.abort(failure(error, scope, channel, false));
      return await sendAll(client, spec, source, scope, refuse);
    } catch (error) {
      throw failure(error, scope, channel, false);
    } finally {
      // Not awaited: behind a `next` that waits, this would wait too.
      void Promise.resolve(source.return?.()).catch(() => undefined);
      scope.end();
    }
  }

  async function open(spec: RawCallSpec, listener: RawCallListener): Promise<RawCall> {
    const scope = openScope(spec.deadline - Date.now(), spec.signal);
    const channel = pool.acquire(spec.agent);
    const onStatus = (ended: StatusObject): void => {
      scope.end();
      if (!scope.aborted && castsDoubtOnChannel(ended, false)) pool.discard(channel);
      listener.onEnd(scope.aborted ?? ended);
    };
    try {
      const client = channel.client ?? (await scope.whileOpen(channel.opening));
      return startRawCall(client, spec, scope, { ...listener, onStatus });
    } catch (error) {
      scope.end();
      throw failure(error, scope, channel, false);
    }
  }

  function stream<Request, Response>(
    spec: CallSpec<Request, Response> & { endless?: boolean } & Partial<Transfer>,
  ): AsyncIterable<Response> {
    return {
      [Symbol.asyncIterator]() {
        const stop = new AbortController();
        const generator = messages(spec, stop.signal);
        return {
          next: () => generator.next(),
          return: () => {
            // A generator's own return() would wait behind a pending next().
            stop.abort();
            return generator.return();
          },
        };
      },
    };
  }

  function failure(error: unknown, scope: CallScope, channel: Channel, timeoutCastsDoubt: boolean): AppError {
    if (scope.aborted) return scope.aborted;
    if (error instanceof AppError) return error;
    if (!isServiceError(error)) return new AppError('internal', { cause: error });
    if (castsDoubtOnChannel(error, timeoutCastsDoubt)) pool.discard(channel);
    return agentError(error);
  }

  return {
    unary,
    stream,
    download: spec => stream({ ...spec, endless: true }),
    upload,
    open,
    abortAll() {
      closed = true;
      for (const scope of inFlight) scope.abort(new AppError('shutting-down'));
    },
  };
}

function request<Request, Response>(
  client: Client,
  spec: CallSpec<Request, Response>,
  scope: CallScope,
): Promise<Response> {
  const { path, requestSerialize, responseDeserialize } = spec.method;
  return new Promise<Response>((resolve, reject) => {
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      spec.request,
      metadataOf(spec),
      { deadline: scope.deadline },
      (error, response) => {
        if (response === undefined) reject(error ?? new AppError('agent-failed'));
        else resolve(response);
      },
    );
    scope.cancelBy(() => call.cancel());
  });
}

function openStream<Request, Response>(
  client: Client,
  spec: CallSpec<Request, Response>,
  scope: CallScope,
  interceptors: Interceptor[] = [],
): ClientReadableStream<Response> {
  const { path, requestSerialize, responseDeserialize } = spec.method;
  const call = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    spec.request,
    metadataOf(spec),
    { deadline: scope.deadline, interceptors },
  );
  // Whoever iterates sees the error. One that comes after the iteration (our own cancel) would end the process.
  call.on('error', () => undefined);
  scope.cancelBy(() => call.cancel());
  return call;
}

/** `refuse` is called when the agent ends the call before we do, whatever we are waiting for then. */
async function sendAll<Request, Response>(
  client: Client,
  spec: Omit<CallSpec<Request, Response>, 'request'> & Transfer,
  source: AsyncIterator<Request>,
  scope: CallScope,
  refuse: (error: unknown) => void,
): Promise<Response> {
  const { path, requestSerialize, responseDeserialize } = spec.method;
  const { promise: answer, settle } = pending<Response>();
  let isOver = false;
  const call = client.makeClientStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    metadataOf(spec),
    { deadline: Infinity },
    (error, response) => {
      if (response !== undefined) settle(response);
      else if (!isOver) refuse(error ?? new AppError('agent-failed'));
    },
  );
  // Told by the callback; without a listener it would end the process.
  call.on('error', () => undefined);
  try {
    for (;;) {
      const next = await scope.whileOpen(source.next());
      if (next.done) break;
      await scope.whileOpen(taken(call, next.value), spec.idleMs);
    }
    call.end();
    return await scope.whileOpen(answer, spec.idleMs);
  } finally {
    isOver = true;
    call.cancel();
  }
}

/** Resolves when the connection has taken the message; never, when the call is over. */
function taken<Request>(call: ClientWritableStream<Request>, message: Request): Promise<void> {
  return new Promise(resolve => {
    call.write(message, (error: Error | null | undefined) => {
      if (!error) resolve();
    });
  });
}

function pending<T>(): { promise: Promise<T>; settle: (value: T) => void } {
  let settle: (value: T) => void = () => undefined;
  const promise = new Promise<T>(resolve => {
    settle = resolve;
  });
  return { promise, settle };
}

async function* withoutPauses<T>(
  incoming: AsyncIterable<T>,
  scope: CallScope,
  idleMs: number,
): AsyncGenerator<T, void> {
  const iterator = incoming[Symbol.asyncIterator]();
  for (;;) {
    const next = await scope.whileOpen(iterator.next(), idleMs);
    if (next.done) return;
    yield next.value;
  }
}

type Sender = Pick<CallSpec<unknown, unknown>, 'agent' | 'options' | 'metadata'>;

function metadataOf({ agent, options, metadata }: Sender): Metadata {
  const sent = new Metadata();
  const values = { 'request-id': options.requestId, ...metadata };
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined) sent.set(key, printable(value));
  }
  if (agent.token !== null) sent.set('authorization', `Bearer ${agent.token}`);
  return sent;
}

/** A request id may come from a client's header; gRPC throws on anything but printable ASCII. */
function printable(value: string): string {
  return value.replace(/[^ -~]/g, '?');
}

function isServiceError(error: unknown): error is ServiceError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'number' &&
    'metadata' in error &&
    error.metadata instanceof Metadata
  );
}
