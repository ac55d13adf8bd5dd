import { Server, ServerCredentials } from '@grpc/grpc-js';
import { type AgentServiceServer, AgentServiceService } from '#proto/gen/agent.js';
import type { RpcDeps } from './deps.js';
import { version1 } from './v1.js';
import { version2 } from './v2.js';

/** What agents of version 1 take and send. */
const MESSAGE_BYTES_MAX = 10 * 1024 * 1024;
/** A caller that vanished without a word is noticed within these two. */
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Calls under way get this long to end by themselves at shutdown; streams never would. */
const SHUTDOWN_GRACE_MS = 1_000;

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

export interface RpcServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function serve(deps: RpcDeps, { host, port, tls }: ListenOptions): Promise<RpcServer> {
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.enable_channelz': 0,
  });
  const implementation: AgentServiceServer = { ...version1(deps), ...version2(deps) };
  server.addService(AgentServiceService, implementation);
  const credentials = tls
    ? ServerCredentials.createSsl(null, [{ cert_chain: tls.cert, private_key: tls.key }])
    : ServerCredentials.createInsecure();
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, boundPort) =>
      error ? reject(error) : resolve(boundPort),
    );
  });
  return {
    port: bound,
    close: () =>
      new Promise(resolve => {
        const force = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, SHUTDOWN_GRACE_MS);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}
