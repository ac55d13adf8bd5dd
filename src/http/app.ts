import { createServer, type Server } from 'node:http';
import cors from '@koa/cors';
import { Router } from '@koa/router';
import Koa from 'koa';
import helmet from 'koa-helmet';
import { deriveSecretKey, openSecret, sealSecret } from '#src/security/secretBox.js';
import { watchArrival } from './arrival.js';
import { createAuthenticate } from './authenticate.js';
import { createLoginLimits } from './auth/loginLimits.js';
import { limitConnectionsPerIp } from './connections.js';
import type { ApiContext, ApiState } from './context.js';
import type { Api, ApiDeps } from './deps.js';
import { createTransfers } from './files/transfers.js';
import { accessLog } from './middleware/accessLog.js';
import { fallback } from './middleware/fallback.js';
import { problems } from './middleware/problems.js';
import { requestId } from './middleware/requestId.js';
import { buildOpenApi } from './openApi.js';
import type { Route } from './route.js';
import { ROUTES } from './routes.js';
import { createCatalogue } from './serverTypes/catalogue.js';

export type ApiApp = Koa<ApiState>;

/** The whole REST API. Opens nothing and starts no timer; what it was given, it does not close. */
export function createApp(deps: ApiDeps): ApiApp {
  const { trustedProxies } = deps.settings;
  const app: ApiApp = new Koa<ApiState>({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies });
  const api = createApi(deps);
  const router = createRouter(ROUTES, (route, ctx) => route.serve(ctx, api));
  app.use(requestId(deps.logger));
  app.use(accessLog(deps.metrics));
  app.use(problems());
  app.use(securityHeaders());
  app.use(crossOrigin(deps.settings.corsOrigins));
  app.use(router.routes());
  app.use(fallback(router));
  // What breaks after the answer began (a client that left, a stream that failed) is told here.
  app.on('error', (error: unknown) => deps.logger.debug({ err: error }, 'answer broke off'));
  return app;
}

function createApi(deps: ApiDeps): Api {
  const { auth, limits } = deps.settings;
  const secretKey = deriveSecretKey(auth.jwtSecret);
  const userLimiter = deps.createLimiter({
    name: 'user',
    perMinute: limits.userPerMinute,
    burst: limits.userBurst,
  });
  return {
    ...deps,
    authenticate: createAuthenticate({ jwtSecret: auth.jwtSecret, identities: deps.identities, userLimiter }),
    loginLimits: createLoginLimits(limits, deps.createLimiter),
    transfers: createTransfers(),
    catalogue: createCatalogue(deps),
    accessChanged(userId) {
      deps.identities.forgetUser(userId);
      deps.bus?.publish('access-changed', { user_id: userId });
    },
    openApi: JSON.stringify(buildOpenApi(ROUTES)),
    openToken: sealed => openSecret(secretKey, sealed),
    sealToken: plain => sealSecret(secretKey, plain),
  };
}

/** Routes are mounted in their order, so a fixed path stands before the pattern that it fits. */
export function createRouter(
  routes: readonly Route[],
  serve: (route: Route, ctx: ApiContext) => Promise<void>,
): Router<ApiState> {
  const router = new Router<ApiState>();
  const fixed = new Set(routes.map(({ path }) => path).filter(path => !path.includes(':')));
  for (const route of routes) {
    router.register(route.path, [route.method], (ctx, next) => {
      // `PUT /agents/stats` is a wrong method and not an agent of that id.
      if (route.path !== ctx.path && fixed.has(ctx.path)) return next();
      ctx.state.route = route.path;
      return serve(route, ctx);
    });
  }
  return router;
}

/** The API itself answers no documents: nothing in an answer may load or frame anything. */
function securityHeaders(): Koa.Middleware {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  });
}

/** Bearer tokens only and no cookies, so there are no credentials to allow. */
function crossOrigin(origins: readonly string[]): Koa.Middleware {
  return cors({
    origin: ctx => {
      const origin = ctx.get('Origin');
      return origins.includes(origin) ? origin : '';
    },
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
    allowHeaders: [
      'Authorization',
      'Content-Type',
      'Idempotency-Key',
      'If-Match',
      'If-None-Match',
      'If-Range',
      'Range',
      'X-Request-Id',
    ],
    exposeHeaders: [
      'Accept-Ranges',
      'Content-Disposition',
      'Content-Range',
      'ETag',
      'Link',
      'Location',
      'RateLimit-Limit',
      'RateLimit-Remaining',
      'RateLimit-Reset',
      'Retry-After',
      'X-Fetched-At',
      'X-Next-Cursor',
      'X-Request-Id',
      'X-Stale',
      'X-Total-Count',
    ],
    maxAge: 600,
  });
}

export interface HttpLimits {
  /** For all headers to arrive. */
  headersTimeoutMs: number;
  /** For the whole request to arrive; a body that is read as it arrives keeps its own time. */
  requestTimeoutMs: number;
  /** Between two requests of a connection. Longer than the idle time-outs of usual load balancers. */
  keepAliveTimeoutMs: number;
  /** Connections at once; those beyond are refused. */
  maxConnections: number;
  /** …of one address; 0 = no limit. */
  maxConnectionsPerIp: number;
}

const HTTP_LIMITS: HttpLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 65_000,
  maxConnections: 10_000,
  maxConnectionsPerIp: 0,
};

/** Then the connection is closed, so that a load balancer spreads long-lived clients anew. */
const MAX_REQUESTS_PER_CONNECTION = 10_000;

/** Not listening yet. Who sends a request drop by drop is cut off; others never wait for them. */
export function createHttpServer(app: ApiApp, limits: Partial<HttpLimits> = {}): Server {
  const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, maxConnections, maxConnectionsPerIp } = {
    ...HTTP_LIMITS,
    ...limits,
  };
  const handle = app.callback();
  const server = createServer(
    {
      headersTimeout: headersTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: keepAliveTimeoutMs,
      connectionsCheckingInterval: Math.min(5_000, headersTimeoutMs, requestTimeoutMs),
      maxHeaderSize: 16 * 1024,
    },
    (request, response) => {
      watchArrival(request, response, requestTimeoutMs);
      void handle(request, response);
    },
  );
  server.maxHeadersCount = 100;
  server.maxConnections = maxConnections;
  server.maxRequestsPerSocket = MAX_REQUESTS_PER_CONNECTION;
  if (maxConnectionsPerIp > 0) limitConnectionsPerIp(server, maxConnectionsPerIp);
  return server;
}
