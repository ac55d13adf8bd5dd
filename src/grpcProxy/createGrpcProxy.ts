import { Server, ServerCredentials, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { MESSAGE_BYTES_MAX } from '#src/agents/channelPool.js';
import { AppError } from '#src/domain/errors.js';
import type { GrpcProxyDeps } from './deps.js';
import { createMeter } from './meter.js';
import { BYTES_SERVICE, METHODS } from './methods.js';
import { createPlaces, type PlaceLimits } from './places.js';
import { serveCall, type CallLimits } from './serveCall.js';

export interface GrpcProxyOptions extends GrpcProxyDeps {
  host: string;
  /** 0 = a free one. */
  port: number;
  /** PEM; undefined = plaintext. */
  tls: { cert: string; key: string } | undefined;
  limits?: Partial<CallLimits & PlaceLimits>;
}

export interface GrpcProxy {
  /** As it really listens. */
  port: number;
  /** Takes no more calls, lets those under way end by themselves for a while, then ends them as `shutting-down`. */
  close(): Promise<void>;
}

const LIMITS: CallLimits & PlaceLimits = {
  // As long as an agent itself gives to the longest, the install of a plugin.
  unaryMs: 10 * 60_000,
  streamMs: 60 * 60_000,
  recheckMs: 30_000,
  perUser: 32,
  inAll: 256,
};
const STREAMS_PER_CONNECTION = 64;
/** A client that vanished without a word is noticed within these two. */
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const IDLE_CONNECTION_MS = 5 * 60_000;
const DRAIN_MS = 1_500;
/** For the last answers to leave. */
const FAREWELL_MS = 500;

/**
 * One port for every agent: passes calls of `agent.AgentService` on to the agent that their metadata names, when their
 * sender may make them. Resolves when it listens.
 */
export async function createGrpcProxy({ host, port, tls, ...options }: GrpcProxyOptions): Promise<GrpcProxy> {
  const limits = { ...LIMITS, ...options.limits };
  const underWay = new Set<AbortController>();
  const places = createPlaces(limits);
  const proxy = { ...options, limits, places, meter: createMeter(options.metrics), underWay };
  // The raw call is taken here, below grpc-js's streams, which read 16 messages ahead; no handler comes into play.
  const relaying: ServerInterceptor = ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: next => {
        const method = METHODS.get(path);
        if (method) serveCall(proxy, call, method);
        else next();
      },
    });
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_concurrent_streams': STREAMS_PER_CONNECTION,
    'grpc.max_connection_idle_ms': IDLE_CONNECTION_MS,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.enable_channelz': 0,
    interceptors: [relaying],
  });
  server.addService(BYTES_SERVICE, {});
  const bound = await listen(server, host, port, tls);
  return { port: bound, close: () => drain(server, underWay) };
}

function listen(server: Server, host: string, port: number, tls: GrpcProxyOptions['tls']): Promise<number> {
  const credentials = tls
    ? ServerCredentials.createSsl(null, [
        { cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) },
      ])
    : ServerCredentials.createInsecure();
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
}

async function drain(server: Server, underWay: ReadonlySet<AbortController>): Promise<void> {
  const timers = [
    setTimeout(() => {
      for (const call of underWay) call.abort(new AppError('shutting-down'));
    }, DRAIN_MS),
    setTimeout(() => server.forceShutdown(), DRAIN_MS + FAREWELL_MS),
  ];
  await new Promise<void>(resolve => server.tryShutdown(() => resolve()));
  for (const timer of timers) clearTimeout(timer);
}
