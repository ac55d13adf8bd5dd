import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { Registry } from 'prom-client';
import { AgentServiceClient, AgentServiceService } from '#proto/gen/agent.js';
import { createGrpcProxy, type GrpcProxy, type GrpcProxyOptions } from '#src/grpcProxy/createGrpcProxy.js';
import { BYTES_SERVICE } from '#src/grpcProxy/methods.js';
import { createLogger } from '#src/observability/logger.js';
import type { TestApi } from './api.js';

export const asIs = (bytes: Buffer): Buffer => bytes;

export function metadataOf(entries: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(entries)) metadata.set(key, value);
  return metadata;
}

/** `NOT_FOUND not-found`: the status and the reason in the trailers, or `OK`. */
export function outcomeOf(error: ServiceError | null): string {
  if (error === null) return 'OK';
  return [status[error.code], ...error.metadata.get('aymc-code')].join(' ');
}

/** A proxy beside a test's API, on a free port; plaintext unless told otherwise. */
export function startTestProxy(
  { db, gateway, identities }: TestApi,
  options: Partial<Pick<GrpcProxyOptions, 'limits' | 'tls' | 'metrics'>> = {},
): Promise<GrpcProxy> {
  return createGrpcProxy({
    db,
    gateway,
    identities,
    openToken: sealed => sealed,
    countRequest: () => Promise.resolve(),
    logger: createLogger({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent', name: 'proxy' }),
    metrics: new Registry(),
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    ...options,
  });
}

export interface ProxyClient {
  typed: AgentServiceClient;
  bytes: Client;
  /** The outcome of a call whose request and answer are empty or of no interest. */
  outcome(rpc: keyof AgentServiceService, metadata: Metadata, request?: Buffer): Promise<string>;
  close(): void;
}

/** Calls through the proxy as clients of an agent do: typed, or with bytes of the caller's own. */
export function connectProxy(port: number): ProxyClient {
  const address = `127.0.0.1:${port}`;
  const typed = new AgentServiceClient(address, credentials.createInsecure());
  const bytes = new Client(address, credentials.createInsecure());
  return {
    typed,
    bytes,
    outcome: (rpc, metadata, request = Buffer.alloc(0)) =>
      new Promise(resolve => {
        const { path } = AgentServiceService[rpc];
        bytes.makeUnaryRequest(path, asIs, asIs, request, metadata, error => resolve(outcomeOf(error)));
      }),
    close() {
      typed.close();
      bytes.close();
    },
  };
}

export interface BytesAgent {
  port: number;
  close(): void;
}

/** An agent that does as the test says: messages are bytes, what is not given is not there. */
export async function startBytesAgent(handlers: UntypedServiceImplementation): Promise<BytesAgent> {
  const server = new Server();
  server.addService(BYTES_SERVICE, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, close: () => server.forceShutdown() };
}
