import type { KeyObject } from 'node:crypto';
import type { Actor } from '#src/domain/permissions.js';
import { AppError } from '#src/domain/errors.js';
import { hashToken, isApiKey, verifyAccessToken, type AccessClaims } from './tokens.js';

/** Who is asking, as the database has it now and not as the token once said. */
export interface Identity extends Actor {
  username: string;
  /** The session family behind an access token; null behind an API key. */
  sessionId: string | null;
}

/** Who a token stands for, and until when; null = without an end. */
export interface Principal {
  user: Identity;
  expiresAt: Date | null;
}

interface IdentitiesDeps {
  secret: KeyObject;
  /** One indexed query; null when the session has ended or the user may no longer sign in. */
  find: (claims: AccessClaims) => Promise<Identity | null>;
  /**
   * The same for an API key. Rejects with `token-expired` for one whose time is over. Asked about a key at most once in
   * five seconds, so it can also note that the key is used.
   */
  findKey: (keyHash: string) => Promise<Principal | null>;
  /** Milliseconds since any fixed point; scripted by tests. */
  now?: () => number;
}

/** How long a user who was deactivated in another process may still get through. */
const TRUST_MS = 5_000;
/** About 3 MB; the least recently used go first. */
const MAX_REMEMBERED = 10_000;

/**
 * Tokens to people, for REST and sockets alike: the signature is always checked, the session or key and the account at
 * least every five seconds. Rejects with `unauthenticated` or `token-expired`.
 */
export interface Identities {
  /** Of an access token or an API key. */
  authenticate(token: string): Promise<Principal>;
  /** As authenticate, for an access token whose signature was checked already. */
  identify(claims: AccessClaims): Promise<Identity>;
  /** After a logout, a new password, another role: this process forgets at once, the others within five seconds. */
  forgetUser(userId: string): void;
}

export function createIdentities(deps: IdentitiesDeps): Identities {
  const now = deps.now ?? (() => performance.now());
  // By session family, or by the hash of a key.
  const remembered = new Map<string, { principal: Principal; until: number }>();

  function recall(credential: string): Principal | null {
    const known = remembered.get(credential);
    return known && known.until > now() ? known.principal : null;
  }

  function remember(credential: string, principal: Principal): void {
    remembered.delete(credential);
    remembered.set(credential, { principal, until: now() + TRUST_MS });
    if (remembered.size <= MAX_REMEMBERED) return;
    const [oldest] = remembered.keys();
    if (oldest !== undefined) remembered.delete(oldest);
  }

  async function identify(claims: AccessClaims): Promise<Identity> {
    const known = recall(claims.sid);
    if (known && known.user.id === claims.sub) return known.user;
    const user = await deps.find(claims);
    if (!user) {
      remembered.delete(claims.sid);
      throw new AppError('unauthenticated', { detail: 'The session has ended' });
    }
    remember(claims.sid, { user, expiresAt: null });
    return user;
  }

  async function identifyKey(key: string): Promise<Principal> {
    const keyHash = hashToken(key);
    const known = recall(keyHash);
    if (known && (known.expiresAt === null || known.expiresAt.getTime() > Date.now())) return known;
    remembered.delete(keyHash);
    const principal = await deps.findKey(keyHash);
    if (!principal) throw new AppError('unauthenticated', { detail: 'The API key is not valid' });
    remember(keyHash, principal);
    return principal;
  }

  return {
    identify,
    async authenticate(token) {
      if (isApiKey(token)) return identifyKey(token);
      const claims = verifyAccessToken(deps.secret, token);
      return { user: await identify(claims), expiresAt: claims.expiresAt };
    },
    forgetUser(userId) {
      for (const [credential, { principal }] of remembered)
        if (principal.user.id === userId) remembered.delete(credential);
    },
  };
}
