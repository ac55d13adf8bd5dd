import type { KeyObject } from 'node:crypto';
import koaJwt from 'koa-jwt';
import { AppError } from '#src/domain/errors.js';
import type { Identities, Identity } from '#src/security/identities.js';
import { readClaims, TOKEN_ALGORITHM, tokenError } from '#src/security/tokens.js';
import type { ApiContext } from './context.js';

export type Authenticate = (ctx: ApiContext) => Promise<Identity>;

/** Bearer token → who is asking. Rejects with `unauthenticated` or `token-expired`. */
export function createAuthenticate(jwtSecret: KeyObject, identities: Identities): Authenticate {
  const verifySignature = koaJwt({
    // Given by ctx.state below, which koa-jwt prefers: the types of this option know no KeyObject. Empty verifies nothing.
    secret: '',
    algorithms: [TOKEN_ALGORITHM],
    key: 'claims',
  });
  return async ctx => {
    if (!ctx.get('Authorization')) throw new AppError('unauthenticated');
    ctx.state.secret = jwtSecret;
    try {
      await verifySignature(ctx, () => Promise.resolve());
    } catch (error) {
      throw tokenError(originalOf(error));
    }
    const identity = await identities.identify(readClaims(ctx.state.claims));
    ctx.state.userId = identity.id;
    return identity;
  };
}

/** koa-jwt wraps what jsonwebtoken said. */
function originalOf(error: unknown): unknown {
  return error instanceof Error && 'originalError' in error ? error.originalError : error;
}
