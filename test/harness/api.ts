import { createSecretKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Registry } from 'prom-client';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import type { Bus } from '#src/bus/bus.js';
import { createInProcessBus } from '#src/bus/inProcessBus.js';
import type { Database } from '#src/db/connect.js';
import type { UserRow } from '#src/db/types.js';
import { createApp, createHttpServer, type HttpLimits } from '#src/http/app.js';
import { findKeyPrincipal } from '#src/http/auth/keys.js';
import { findIdentity } from '#src/http/auth/sessions.js';
import type { ApiDeps, ApiSettings } from '#src/http/deps.js';
import { createRateLimiter } from '#src/http/rateLimiter.js';
import { createLogger } from '#src/observability/logger.js';
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { AppError } from '#src/domain/errors.js';
import { createSources, type Sources } from '#src/provisioning/sources.js';
import { createIdentities, type Identities } from '#src/security/identities.js';
import { buildUser, TEST_PASSWORD } from '../build.js';
import { createTestDatabase } from './database.js';

export interface ApiAnswer {
  status: number;
  headers: Headers;
  /** Parsed when it is JSON, else text. */
  body: unknown;
}

export interface ApiCall {
  /** Sent as JSON, unless it is a text or bytes. */
  body?: unknown;
  headers?: Record<string, string>;
  /** A token, or null for none. */
  token?: string | null;
}

/** `send('POST /servers', {body})`: the path is below `/api/v1`, unless it begins with `//`. */
export type Send = (route: string, call?: ApiCall) => Promise<ApiAnswer>;

export interface ApiUser {
  id: string;
  username: string;
  token: string;
  send: Send;
}

export interface TestApi {
  url: string;
  db: Database;
  gateway: AgentGateway;
  bus: Bus;
  identities: Identities;
  send: Send;
  /** A user of that role, signed in through the API. */
  signUp(overrides?: Partial<UserRow>): Promise<ApiUser>;
  close(): Promise<void>;
}

export interface TestApiOptions {
  auth?: Partial<ApiSettings['auth']>;
  limits?: Partial<ApiSettings['limits']>;
  lease?: Partial<ApiSettings['lease']>;
  servers?: Partial<ApiSettings['servers']>;
  corsOrigins?: string[];
  trustedProxies?: number;
  deps?: Partial<Omit<ApiDeps, 'settings' | 'db'>>;
  http?: Partial<HttpLimits>;
}

/**
 * The whole API on a free port: a database of its own, real operations, every answer checked against its schema.
 * Temporal is away, which no answer may show: what was accepted waits in the outbox.
 */
export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const database = await createTestDatabase();
  const { db } = database;
  const logger = createLogger({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent', name: 'api' });
  const bus = createInProcessBus({ logger });
  const temporal = () => Promise.reject(new Error('this test has no Temporal'));
  const dispatcher = new Dispatcher({ db, temporal, bus, logger, eager: false, pollMs: 60_000 });
  const gateway = createGrpcGateway({ logger, defaultDeadlineMs: 5_000 });
  const jwtSecret = createSecretKey(randomBytes(32));
  const identities = createIdentities({
    secret: jwtSecret,
    find: claims => findIdentity(db, claims),
    findKey: hash => findKeyPrincipal(db, hash),
  });
  const app = createApp({
    db,
    gateway,
    logger,
    operations: createOperations({ db, bus, dispatcher, temporal, logger }),
    bus,
    identities,
    createLimiter: createRateLimiter,
    sources: unreachableSources(),
    findProfile: () => Promise.reject(new AppError('upstream-failed')),
    metrics: new Registry(),
    neighbours: { temporal: async () => 'down', redis: async () => 'disabled' },
    validateResponses: true,
    ...options.deps,
    settings: {
      auth: {
        jwtSecret,
        accessTtlMs: 3_600_000,
        refreshTtlMs: 86_400_000,
        registration: 'open',
        passwordCost: { memoryCost: 8, timeCost: 1, parallelism: 1 },
        ...options.auth,
      },
      corsOrigins: options.corsOrigins ?? ['http://localhost:1420'],
      trustedProxies: options.trustedProxies ?? 0,
      limits: {
        userPerMinute: 100_000,
        userBurst: 10_000,
        loginPerAccountPerMinute: 1_000,
        loginPerIpPerMinute: 1_000,
        ...options.limits,
      },
      lease: { ttlMs: 180_000, renewMs: 15_000, ...options.lease },
      servers: {
        acceptEula: false,
        allowPrivateUrls: true,
        failoverPolicyDefault: 'never',
        balancer: 'least_load',
        ...options.servers,
      },
    },
  });
  const server = createHttpServer(app, options.http);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the API got no port');
  const url = `http://127.0.0.1:${address.port}`;
  const send = sender(url, null);

  return {
    url,
    db,
    gateway,
    bus,
    identities,
    send,
    async signUp(overrides = {}) {
      const user = await buildUser(db, overrides);
      const answer = await send('POST /auth/login', {
        body: { username: user.username, password: TEST_PASSWORD },
      });
      const token = textAt(answer, 'access_token');
      return { id: user.id, username: user.username, token, send: sender(url, token) };
    },
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await gateway.close();
      await bus.close();
      await database.drop();
    },
  };
}

/** A test that needs upstreams brings its own; nobody asks those of the world. */
function unreachableSources(): Sources {
  const nobody = 'http://127.0.0.1:1';
  return createSources({
    bases: {
      mojang: nobody,
      paper: nobody,
      purpur: nobody,
      fabric: nobody,
      forge: nobody,
      forgeFiles: nobody,
      spigot: nobody,
    },
    urls: { allowPrivate: true },
    userAgent: 'AYMC',
  });
}

/** What the body has under `path` (`user.id`, `0.name`); undefined where there is nothing. */
export function valueAt({ body }: ApiAnswer, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => {
    const entries: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {};
    return entries[key];
  }, body);
}

/** …where it must be a text. */
export function textAt(answer: ApiAnswer, path: string): string {
  const value = valueAt(answer, path);
  if (typeof value === 'string') return value;
  throw new Error(`no text at ${path} of the answer ${answer.status} ${JSON.stringify(answer.body)}`);
}

/** The body of a resource. */
export function objectOf({ body }: ApiAnswer): Record<string, unknown> {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return { ...body };
  throw new Error(`no object in the answer: ${JSON.stringify(body)}`);
}

/** The rows of a list. */
export function rowsOf({ body }: ApiAnswer): Record<string, unknown>[] {
  if (Array.isArray(body))
    return body.map((row: unknown) => objectOf({ status: 0, headers: new Headers(), body: row }));
  throw new Error(`no list in the answer: ${JSON.stringify(body)}`);
}

/** `404 not-found`, or the bare status of an answer that is no problem. */
export function codeOf(answer: ApiAnswer): string {
  const code = valueAt(answer, 'code');
  return typeof code === 'string' ? `${answer.status} ${code}` : String(answer.status);
}

/** Texts and bytes go out as they are, all else as JSON. */
function isSent(body: unknown): body is string | Buffer {
  return typeof body === 'string' || Buffer.isBuffer(body);
}

function sender(url: string, defaultToken: string | null): Send {
  return async (route, { body, headers = {}, token = defaultToken } = {}) => {
    const [method = 'GET', path = '/'] = route.split(' ');
    const answer = await fetch(url + (path.startsWith('//') ? path.slice(1) : `/api/v1${path}`), {
      method,
      redirect: 'manual',
      headers: {
        ...(token !== null && { Authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isSent(body) ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get('content-type')?.includes('json') ?? false;
    return {
      status: answer.status,
      headers: answer.headers,
      body: isJson && text !== '' ? JSON.parse(text) : text,
    };
  };
}
