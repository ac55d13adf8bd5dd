import type { KeyObject } from 'node:crypto';
import type { Actor } from '#src/domain/permissions.js';
import { AppError } from '#src/domain/errors.js';
import { verifyAccessToken, type AccessClaims } from './tokens.js';

/** Who is asking, as the database has it now and not as the token once said. */
export interface Identity extends Actor {
  username: string;
  /** The session family behind the token. */
  sessionId: string;
}

interface IdentitiesDeps {
  secret: KeyObject;
  /** One indexed query; null when the session has ended or the user may no longer sign in. */
  find: (claims: AccessClaims) => Promise<Identity | null>;
  /** Milliseconds since any fixed point; scripted by tests. */
  now?: () => number;
}

/** How long a user who was deactivated in another process may still get through. */
const TRUST_MS = 5_000;
/** About 3 MB; the least recently used go first. */
const MAX_REMEMBERED = 10_000;

/**
 * Tokens to people, for REST and sockets alike: the signature is always checked, the session and the account at least
 * every five seconds. Rejects with `unauthenticated` or `token-expired`.
 */
export interface Identities {
  /** Who a token stands for, and until when. */
  authenticate(token: string): Promise<{ user: Identity; expiresAt: Date }>;
  /** As authenticate, for a token whose signature was checked already. */
  identify(claims: AccessClaims): Promise<Identity>;
  /** After a logout, a new password, another role: this process forgets at once, the others within five seconds. */
  forgetUser(userId: string): void;
}

export function createIdentities(deps: IdentitiesDeps): Identities {
  const now = deps.now ?? (() => performance.now());
  const remembered = new Map<string, { identity: Identity; until: number }>();

  function remember(identity: Identity): void {
    remembered.delete(identity.sessionId);
    remembered.set(identity.sessionId, { identity, until: now() + TRUST_MS });
    if (remembered.size <= MAX_REMEMBERED) return;
    const [oldest] = remembered.keys();
    if (oldest !== undefined) remembered.delete(oldest);
  }

  async function identify(claims: AccessClaims): Promise<Identity> {
    const known = remembered.get(claims.sid);
    if (known && known.until > now() && known.identity.id === claims.sub) return known.identity;
    const identity = await deps.find(claims);
    if (!identity) {
      remembered.delete(claims.sid);
      throw new AppError('unauthenticated', { detail: 'The session has ended' });
    }
    remember(identity);
    return identity;
  }

  return {
    identify,
    async authenticate(token) {
      const claims = verifyAccessToken(deps.secret, token);
      return { user: await identify(claims), expiresAt: claims.expiresAt };
    },
    forgetUser(userId) {
      for (const [sid, { identity }] of remembered) if (identity.id === userId) remembered.delete(sid);
    },
  };
}
