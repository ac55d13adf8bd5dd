import type { Registry } from 'prom-client';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Database } from '#src/db/connect.js';
import type { Logger } from '#src/observability/logger.js';
import type { Identities } from '#src/security/identities.js';

export interface GrpcProxyDeps {
  db: Database;
  gateway: Pick<AgentGateway, 'openCall' | 'isOfVersion1'>;
  identities: Identities;
  /** Unseals `agents.token`. */
  openToken: (sealed: string) => string;
  /** Counts a call against what the user may ask a minute; rejects with `rate-limited`. */
  countRequest: (userId: string) => Promise<unknown>;
  logger: Logger;
  metrics: Registry;
}
