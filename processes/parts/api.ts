import { once } from 'node:events';
import { Registry, collectDefaultMetrics } from 'prom-client';
import { createGrpcProxy } from '#src/grpcProxy/createGrpcProxy.js';
import { createApp, createHttpServer } from '#src/http/app.js';
import { findKeyPrincipal } from '#src/http/auth/keys.js';
import { findIdentity } from '#src/http/auth/sessions.js';
import type { ApiSettings, NeighbourCheck } from '#src/http/deps.js';
import { createRateLimiter, takeOrThrow, type CreateRateLimiter } from '#src/http/rateLimiter.js';
import { createRedisLimits } from '#src/http/redisRateLimiter.js';
import { sendCommand } from '#src/http/servers/live.js';
import { findListedServer } from '#src/http/servers/queries.js';
import type { Operations } from '#src/operations/operations.js';
import { createHub } from '#src/realtime/hub.js';
import { createRawSockets, RAW_SOCKET_PATH } from '#src/realtime/rawSocket.js';
import { attachSocketIo } from '#src/realtime/socketIo.js';
import { routeUpgrades } from '#src/realtime/upgrade.js';
import { createIdentities, type Identities } from '#src/security/identities.js';
import type { Config } from '#src/config.js';
import type { Core } from './core.js';
import { refuseDevelopmentPasswords } from './developmentPasswords.js';
import { findProfileOf, sourcesOf } from './sources.js';
import type { TemporalLink } from './temporalLink.js';

const POLL_MS = 1_000;

export interface ApiPart {
  /** `http://host:port` as it really listens. */
  url: string;
}

interface ApiWiring {
  operations: Operations;
  temporal: TemporalLink;
  /** Whether this process also does all the work, so that no other appends events. */
  alone: boolean;
}

/** REST and sockets on one port, and the gRPC proxy on another where that is set. Resolves when it listens; rejects in production when anyone could sign in as admin. */
export async function startApi(core: Core, { operations, temporal, alone }: ApiWiring): Promise<ApiPart> {
  await refuseDevelopmentPasswords(core);
  const { config, logger, shutdown, db, bus, gateway, openToken } = core;
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const identities = createIdentities({
    secret: core.jwtSecret,
    find: claims => findIdentity(db, claims),
    findKey: hash => findKeyPrincipal(db, hash),
  });
  // Before the hub listens, so that whoever it looks at again is looked up anew.
  const unsubscribe = bus.subscribe('access-changed', ({ user_id }) => identities.forgetUser(user_id));
  shutdown.add('access changes', unsubscribe);
  const createLimiter = limiterOf(core);
  const app = createApp({
    db,
    bus,
    operations,
    gateway,
    sources: sourcesOf(config),
    findProfile: findProfileOf(config),
    identities,
    createLimiter,
    logger,
    metrics,
    neighbours: { temporal: checkOf(temporal), redis: redisCheck(core) },
    settings: settingsOf(core),
    validateResponses: config.runtime.env !== 'production',
  });
  const { maxConnections, maxConnectionsPerIp } = config.http;
  const http = createHttpServer(app, { maxConnections, maxConnectionsPerIp });
  const hub = createHub({
    db,
    bus,
    logger,
    pollMs: pollMsOf(core, alone),
    sendCommand: async (_user, serverId, command) => {
      const server = await findListedServer(db, serverId);
      return sendCommand({ db, gateway, openToken }, server, command, {});
    },
  });
  const authenticate = (token: string) => identities.authenticate(token);
  const sockets = attachSocketIo({
    http,
    hub,
    logger,
    cors: { origin: [...config.http.corsOrigins] },
    authenticate,
  });
  const rawSockets = createRawSockets({ hub, logger, authenticate });
  const upgrades = routeUpgrades(http, { [RAW_SOCKET_PATH]: rawSockets.upgrade });
  http.listen(config.http.port, config.http.host);
  await once(http, 'listening');
  shutdown.add(
    'http',
    async () => {
      const closed = new Promise(resolve => http.close(resolve));
      await hub.close();
      await Promise.all([sockets.close(), rawSockets.close()]);
      upgrades.close();
      http.closeIdleConnections();
      await closed;
    },
    { timeoutMs: 3_000 },
  );
  const address = http.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.http.port;
  logger.info({ host: config.http.host, port }, 'api listens');
  await startGrpcProxy(core, { identities, createLimiter, metrics });
  return { url: `http://${config.http.host}:${port}` };
}

interface ProxyWiring {
  identities: Identities;
  createLimiter: CreateRateLimiter;
  metrics: Registry;
}

/** Calls count like requests: with those of REST where Redis counts for all, else apart from them. */
async function startGrpcProxy(
  core: Core,
  { identities, createLimiter, metrics }: ProxyWiring,
): Promise<void> {
  const { config, logger, shutdown, db, gateway, openToken } = core;
  const { grpcProxyPort, grpcProxyTlsCert: cert, grpcProxyTlsKey: key } = config.agents;
  if (grpcProxyPort === undefined) return;
  const { userPerMinute, userBurst } = config.limits;
  const limiter = createLimiter({ name: 'user', perMinute: userPerMinute, burst: userBurst });
  const { host } = config.http;
  const proxy = await createGrpcProxy({
    db,
    gateway,
    identities,
    openToken,
    countRequest: userId => takeOrThrow(limiter, userId),
    logger,
    metrics,
    host,
    port: grpcProxyPort,
    tls: cert !== undefined && key !== undefined ? { cert, key } : undefined,
  });
  shutdown.add('grpc proxy', () => proxy.close(), { timeoutMs: 3_000 });
  logger.info({ host, port: proxy.port, tls: cert !== undefined }, 'grpc proxy listens');
}

/** Shared by all api processes where there is Redis. */
function limiterOf({ config, logger, shutdown }: Core): CreateRateLimiter {
  if (config.redis.url === undefined) return createRateLimiter;
  const limits = createRedisLimits({ url: config.redis.url, logger });
  shutdown.add('rate limits', () => Promise.resolve(limits.close()));
  return limits.create;
}

/** Pokes may be lost with Redis at any moment, so events of other processes are never more than a second late. */
function pollMsOf({ config, logger }: Core, alone: boolean): number | null {
  if (alone) return null;
  if (config.redis.url === undefined) {
    logger.warn(
      'no Redis: what other processes store is polled from Postgres, and shown up to a second later',
    );
  }
  return POLL_MS;
}

function checkOf(temporal: TemporalLink): NeighbourCheck {
  return async () => ((await temporal.isUp()) ? 'up' : 'down');
}

function redisCheck({ config, bus }: Core): NeighbourCheck {
  return () => Promise.resolve(config.redis.url === undefined ? 'disabled' : bus.shared ? 'up' : 'down');
}

function settingsOf({ config, jwtSecret }: Core): ApiSettings {
  const { auth, http, limits, servers, failover, agents, lease }: Config = config;
  return {
    auth: {
      jwtSecret,
      accessTtlMs: auth.jwtExpiryMs,
      refreshTtlMs: auth.jwtRefreshExpiryMs,
      registration: auth.registration,
    },
    corsOrigins: http.corsOrigins,
    trustedProxies: http.trustedProxies,
    limits,
    lease,
    servers: {
      acceptEula: servers.acceptEula,
      allowPrivateUrls: servers.allowPrivateUrls,
      failoverPolicyDefault: failover.policyDefault,
      balancer: agents.balancer,
    },
  };
}
