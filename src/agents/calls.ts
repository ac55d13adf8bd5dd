import { Metadata, type Client, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { AppError } from '#src/domain/errors.js';
import { CallScope } from './callScope.js';
import type { Channel, ChannelPool } from './channelPool.js';
import { Demand } from './demand.js';
import { agentError, castsDoubtOnChannel } from './errors.js';
import type { AgentAddress, CallOptions } from './gateway.js';

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

export interface Calls {
  unary<Request, Response>(spec: CallSpec<Request, Response>): Promise<Response>;
  /**
   * Nothing is sent before the first `next()`. Messages leave the wire only as fast as they are consumed.
   * `return()` cancels the call at once, even while a `next()` waits; that one then ends as done.
   */
  stream<Request, Response>(
    spec: CallSpec<Request, Response> & { endless?: boolean },
  ): AsyncIterable<Response>;
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
    spec: CallSpec<Request, Response> & { endless?: boolean },
    stop: AbortSignal,
  ): AsyncGenerator<Response, void> {
    const { deadlineMs = spec.endless ? Infinity : defaultDeadlineMs, signal } = spec.options;
    const scope = openScope(deadlineMs, signal);
    stop.addEventListener('abort', () => scope.abort(new AppError('cancelled')), { once: true });
    const channel = pool.acquire(spec.agent);
    let call: ClientReadableStream<Response> | undefined;
    try {
      const client = channel.client ?? (await scope.whileOpen(channel.opening));
      const demand = new Demand();
      call = openStream(client, spec, scope, demand);
      const incoming = demand.messagesOf(call);
      yield* incoming;
    } catch (error) {
      if (stop.aborted) return;
      // That a stream lasted to its deadline is no bad sign: keepalive watches over its connection.
      throw failure(error, scope, channel, false);
    } finally {
      call?.cancel();
      scope.end();
    }
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
    stream: spec => ({
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
    }),
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
  demand: Demand,
): ClientReadableStream<Response> {
  const { path, requestSerialize, responseDeserialize } = spec.method;
  const call = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    spec.request,
    metadataOf(spec),
    { deadline: scope.deadline, interceptors: [demand.interceptor] },
  );
  // Whoever iterates sees the error. One that comes after the iteration (our own cancel) would end the process.
  call.on('error', () => undefined);
  scope.cancelBy(() => call.cancel());
  return call;
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
