import { createSecretKey, type KeyObject } from 'node:crypto';
import { hostname } from 'node:os';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import type { Config } from '#src/config.js';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import type { Shutdown } from '#src/observability/shutdown.js';
import { deriveSecretKey, openSecret } from '#src/security/secretBox.js';

/** What every process of the control plane stands on. */
export interface Core {
  config: Config;
  logger: Logger;
  shutdown: Shutdown;
  db: Database;
  bus: Bus;
  gateway: AgentGateway;
  jwtSecret: KeyObject;
  /** Unseals `agents.token`. */
  openToken: (sealed: string) => string;
}

/** Opens connections lazily: nothing here fails because a neighbour is down. Closed by `shutdown`, last of all. */
export function openCore(config: Config, logger: Logger, shutdown: Shutdown): Core {
  const { jwtSecret } = config.auth;
  if (jwtSecret === undefined) {
    throw new AppError('invalid-request', { detail: 'Set JWT_SECRET; only `npm start` makes one by itself' });
  }
  if (config.database.url === undefined) {
    throw new AppError('invalid-request', {
      detail: 'Set DATABASE_URL or DB_HOST; only `npm start` embeds Postgres',
    });
  }
  const db = connectDatabase({
    url: config.database.url,
    poolMax: config.database.poolMax,
    applicationName: `aymc@${hostname()}`,
    logger,
  });
  shutdown.add('database', () => db.close());
  const bus = createBus({ redisUrl: config.redis.url, logger });
  shutdown.add('bus', () => bus.close());
  const gateway = createGrpcGateway({ logger, defaultDeadlineMs: config.agents.grpcTimeoutMs });
  shutdown.add('agent channels', () => gateway.close());
  const signingKey = createSecretKey(Buffer.from(jwtSecret));
  const sealingKey = deriveSecretKey(signingKey);
  return {
    config,
    logger,
    shutdown,
    db,
    bus,
    gateway,
    jwtSecret: signingKey,
    openToken: sealed => openSecret(sealingKey, sealed),
  };
}
