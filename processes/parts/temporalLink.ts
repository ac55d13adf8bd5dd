import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { Config } from '#src/config.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';

/** Temporal as an api needs it: it may be down at any time, the start included. */
export interface TemporalLink {
  /** Rejects with a retryable error until Temporal was reached for the first time. */
  client(): Promise<Client>;
  isUp(): Promise<boolean>;
}

const HEALTH_DEADLINE_MS = 1_000;
const RETRY_MS = 1_000;

function connectionOptions({ temporal }: Config) {
  if (temporal.address === undefined) {
    throw new AppError('invalid-request', {
      detail: 'Set TEMPORAL_ADDRESS; only `npm start` embeds Temporal',
    });
  }
  const { tls, apiKey, address } = temporal;
  return {
    address,
    ...(apiKey !== undefined && { apiKey }),
    ...(tls && {
      tls: {
        ...(tls.serverName !== undefined && { serverNameOverride: tls.serverName }),
        ...(tls.ca !== undefined && { serverRootCACertificate: Buffer.from(tls.ca) }),
        ...(tls.cert !== undefined &&
          tls.key !== undefined && {
            clientCertPair: { crt: Buffer.from(tls.cert), key: Buffer.from(tls.key) },
          }),
      },
    }),
  };
}

/** For a process without a worker: connects at the first use. */
export function lazyTemporal(config: Config): TemporalLink & { close(): Promise<void> } {
  const connection = Connection.lazy(connectionOptions(config));
  const client = new Client({ connection, namespace: config.temporal.namespace });
  return {
    client: () => Promise.resolve(client),
    isUp: () => isHealthy(client),
    close: () => connection.close(),
  };
}

/** Over a worker's own connection, so that starts can be eager; `connection` arrives once Temporal was reached. */
export function sharedTemporal(config: Config, connection: () => NativeConnection | undefined): TemporalLink {
  let client: Client | undefined;
  const present = () => {
    const reached = connection();
    if (reached) client ??= new Client({ connection: reached, namespace: config.temporal.namespace });
    return client;
  };
  return {
    client() {
      const known = present();
      if (known) return Promise.resolve(known);
      return Promise.reject(new AppError('internal', { detail: 'Temporal has not been reached yet' }));
    },
    isUp: async () => {
      const known = present();
      return known !== undefined && isHealthy(known);
    },
  };
}

async function isHealthy(client: Client): Promise<boolean> {
  try {
    await client.connection.withDeadline(Date.now() + HEALTH_DEADLINE_MS, () =>
      client.connection.workflowService.getSystemInfo({}),
    );
    return true;
  } catch {
    // Down is an answer here, whatever the reason.
    return false;
  }
}

/** Tries until Temporal answers; rejects only when `signal` aborts. */
export async function connectWhenUp(
  config: Config,
  logger: Logger,
  signal: AbortSignal,
): Promise<NativeConnection> {
  const options = connectionOptions(config);
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await NativeConnection.connect(options);
    } catch (error) {
      if (attempt === 0) logger.warn({ err: error }, 'Temporal does not answer; trying until it does');
      await sleep(RETRY_MS, undefined, { signal });
    }
  }
}
