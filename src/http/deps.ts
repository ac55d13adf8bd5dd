import type { KeyObject } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import type { FailoverPolicy, ServerType } from '#src/db/types.js';
import type { BalancerStrategy } from '#src/domain/placement.js';
import type { Logger } from '#src/observability/logger.js';
import type { Operations } from '#src/operations/operations.js';
import type { ArtifactSource } from '#src/provisioning/artifact.js';
import type { FindProfile } from '#src/provisioning/mojangProfiles.js';
import type { Identities } from '#src/security/identities.js';
import type { PasswordCost } from '#src/security/password.js';
import type { Authenticate } from './authenticate.js';
import type { LoginLimits } from './auth/loginLimits.js';
import type { CreateRateLimiter } from './rateLimiter.js';
import type { Transfers } from './files/transfers.js';
import type { Catalogue } from './serverTypes/catalogue.js';

/** All that the API stands on. Made in a composition root; nothing here is read from the environment. */
export interface ApiDeps {
  db: Database;
  operations: Operations;
  gateway: AgentGateway;
  /** Where the servers of each type come from. */
  sources: Readonly<Record<ServerType, ArtifactSource>>;
  /** Who tells the ids of players, where a stopped server does not know them. */
  findProfile: FindProfile;
  identities: Identities;
  /** Told when a session ends, so that sockets and other processes look again. Absent: there are none. */
  bus: Pick<Bus, 'publish'>;
  /** Limits of this process, or of all api processes together. */
  createLimiter: CreateRateLimiter;
  logger: Logger;
  /** Where the API's own metrics are registered, and what `/metrics` shows. */
  metrics: Registry;
  /** The neighbours that `/readyz` reports and does not require. */
  neighbours: Record<'temporal' | 'redis', NeighbourCheck>;
  settings: ApiSettings;
  /** Tests and development: an answer that differs from its own documentation becomes a 500. */
  validateResponses: boolean;
}

/** The same, and what the app makes of it for its own routes. */
export interface Api extends ApiDeps {
  authenticate: Authenticate;
  /** The OpenAPI document, as text. */
  openApi: string;
  loginLimits: LoginLimits;
  transfers: Transfers;
  catalogue: Catalogue;
  /** After every commit that takes something from a user: sessions, role, account, name. */
  accessChanged: (userId: string) => void;
  /** Unseals what a row keeps sealed: `agents.token`, `totp_factors.secret`. */
  openToken: (sealed: string) => string;
  sealToken: (plain: string) => string;
}

/** `disabled`: this installation works without it. */
export type NeighbourCheck = (signal: AbortSignal) => Promise<'up' | 'down' | 'disabled'>;

export interface ApiSettings {
  auth: {
    /** At least 32 bytes; a KeyObject, because verifying with a string costs 35 times as much. */
    jwtSecret: KeyObject;
    accessTtlMs: number;
    refreshTtlMs: number;
    registration: 'open' | 'invite' | 'closed';
    /** Only tests hash at less than the recommended cost. */
    passwordCost?: PasswordCost;
  };
  corsOrigins: readonly string[];
  /** Reverse proxies in front, whose word about a client's address is taken. */
  trustedProxies: number;
  limits: {
    userPerMinute: number;
    userBurst: number;
    loginPerAccountPerMinute: number;
    loginPerIpPerMinute: number;
  };
  /** What an agent is granted, and how often it asks. */
  lease: { ttlMs: number; renewMs: number };
  servers: {
    /** The operator's own acceptance, for creates that don't say. */
    acceptEula: boolean;
    allowPrivateUrls: boolean;
    failoverPolicyDefault: FailoverPolicy;
    balancer: BalancerStrategy;
  };
}
