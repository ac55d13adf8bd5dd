import type { KeyObject } from 'node:crypto';
import koaJwt from 'koa-jwt';
import { AppError } from '#src/domain/errors.js';
import { hasScope, type ScopeNeed } from '#src/domain/scopes.js';
import type { Identities, Identity } from '#src/security/identities.js';
import { bearerOf, isApiKey, readClaims, TOKEN_ALGORITHM, tokenError } from '#src/security/tokens.js';
import type { ApiContext } from './context.js';
import { rateLimitHeaders, takeOrThrow, type RateLimiter } from './rateLimiter.js';

/**
 * Bearer token or API key → who is asking, counted against what a user may ask a minute. Rejects with
 * `unauthenticated`, `token-expired`, `rate-limited`, or `insufficient-scope` when a key was not made for that (null:
 * the caller finds out what is needed, and asserts it).
 */
export type Authenticate = (ctx: ApiContext, needed: ScopeNeed | null) => Promise<Identity>;

interface AuthenticateDeps {
  jwtSecret: KeyObject;
  identities: Identities;
  userLimiter: RateLimiter;
}

export function createAuthenticate({ jwtSecret, identities, userLimiter }: AuthenticateDeps): Authenticate {
  const verifySignature = koaJwt({
    // Given by ctx.state below, which koa-jwt prefers: the types of this option know no KeyObject. Empty verifies nothing.
    secret: '',
    algorithms: [TOKEN_ALGORITHM],
    key: 'claims',
  });

  async function identify(ctx: ApiContext): Promise<Identity> {
    const authorization = ctx.get('Authorization');
    if (!authorization) throw new AppError('unauthenticated');
    const token = bearerOf(authorization);
    // Before koa-jwt, which would refuse what is no JWT.
    if (token !== undefined && isApiKey(token)) return (await identities.authenticate(token)).user;
    ctx.state.secret = jwtSecret;
    try {
      await verifySignature(ctx, () => Promise.resolve());
    } catch (error) {
      throw tokenError(originalOf(error));
    }
    return identities.identify(readClaims(ctx.state.claims));
  }

  return async (ctx, needed) => {
    const identity = await identify(ctx);
    ctx.state.userId = identity.id;
    ctx.set(rateLimitHeaders(await takeOrThrow(userLimiter, identity.id)));
    if (needed !== null) assertScope(identity, needed);
    return identity;
  };
}

export function assertScope(identity: Identity, needed: ScopeNeed): void {
  if (hasScope(identity, needed)) return;
  const detail =
    needed === 'session'
      ? 'That takes a signed-in person; no API key can do it'
      : `The API key lacks the scope ${needed}`;
  throw new AppError('insufficient-scope', { detail });
}

/** koa-jwt wraps what jsonwebtoken said. */
function originalOf(error: unknown): unknown {
  return error instanceof Error && 'originalError' in error ? error.originalError : error;
}
