import { createHash, timingSafeEqual } from 'node:crypto';
import { findAgentNamed, listOwned, renewLease } from '#src/db/leases.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { livesUnderLease, staleOf } from '#src/domain/leases.js';
import type { Logger } from '#src/observability/logger.js';
import { newToken } from '#src/security/tokens.js';
import type { ApiContext } from '../context.js';
import { isObject } from '../jsonSchema.js';
import { readBody } from '../middleware/body.js';
import { defineRoute, type Gate, type Route } from '../route.js';
import * as schema from './leaseSchema.js';

/**
 * The agent that the body names, by its own token. Stored tokens are sealed and can't be searched for, hence the name.
 * Whether the agent or the token is wrong shows neither in the answer nor in the work that it took.
 */
const agentItself: Gate<{ agent: AgentRow }> = {
  rule: 'agent',
  scope: null,
  errors: ['unauthenticated'],
  async admit(ctx, api) {
    const token = bearerOf(ctx);
    if (token === undefined)
      throw new AppError('unauthenticated', { detail: 'The agent must show its token' });
    const agent = await findAgentNamed(api.db, agentNamedIn(await readBody(ctx)));
    const expected = api.openToken(agent?.token ?? api.sealToken(newToken()));
    if (!isSame(token, expected) || agent === undefined) {
      throw new AppError('unauthenticated', { detail: 'There is no such agent, or this is not its token' });
    }
    return { agent };
  },
};

function bearerOf(ctx: ApiContext): string | undefined {
  return /^Bearer +(\S.*)$/i.exec(ctx.get('Authorization'))?.[1];
}

/** Before the body is parsed; a name that is none is nobody's. */
function agentNamedIn(body: unknown): string {
  const name = isObject(body) ? body['agent_id'] : undefined;
  return typeof name === 'string' ? name.slice(0, schema.AGENT_ID_MAX) : '';
}

/** Digests, so that the time tells neither where they differ nor how long they are. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const renew = defineRoute({
  operationId: 'renewLease',
  method: 'POST',
  path: '/agent/lease',
  tag: 'agents',
  summary: 'An agent renews its lease',
  description:
    'For agents, every `renew_ms`. A grant holds for `ttl_ms`, counted from before the request was sent. The answer names every server of the agent with its epoch and whether it lives under the lease; `stale` are those of the request that are not this agent’s, or that have an older epoch.',
  auth: agentItself,
  body: schema.renewal,
  success: { status: 200, schema: schema.lease },
  errors: ['lease-frozen'],
  async handler({ agent, body, log }, { db, settings: { lease } }) {
    const seq = await renewLease(db, agent.id);
    if (seq === undefined) {
      log.warn({ agent: agent.agent_id, incarnation: body.incarnation }, 'the lease is frozen');
      throw new AppError('lease-frozen', { detail: 'Another agent may have been told to run these servers' });
    }
    // Read after the grant: who takes servers away freezes the lease first, and then there is no grant.
    const owned = await listOwned(db, agent.id);
    const stale = staleOf(body.servers, owned);
    tellStale(log, agent, stale);
    return {
      body: {
        lease_seq: seq,
        ttl_ms: lease.ttlMs,
        renew_ms: lease.renewMs,
        servers: owned.map(({ id, epoch, failover_policy }) => ({
          id,
          epoch,
          leased: livesUnderLease(failover_policy, agent.capabilities),
        })),
        stale: stale.map(({ id, epoch }) => ({ id, epoch })),
      },
    };
  },
});

/** Old folders are no news. */
function tellStale(log: Logger, agent: AgentRow, stale: readonly schema.ReportedServer[]): void {
  if (stale.length === 0) return;
  const running = stale.filter(({ state }) => state !== 'stopped' && state !== 'crashed');
  const level = running.length > 0 ? 'warn' : 'debug';
  log[level](
    { agent: agent.agent_id, stale: running.slice(0, 20) },
    'an agent has servers that are not its own',
  );
}

export const leaseRoutes: Route[] = [renew];
