import { createHash, randomBytes, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { AppError } from '#src/domain/errors.js';
import { ROLES, type Role } from '#src/domain/permissions.js';

/** The only algorithm that we sign with or accept: `none` and a public-key confusion end here. */
export const TOKEN_ALGORITHM = 'HS256';

/** What an access token says. The role is a hint for clients; each request reads the true one from the database. */
export interface AccessClaims {
  /** The user. */
  sub: string;
  role: Role;
  /** The session family: all tokens that came of one login. */
  sid: string;
}

export function issueAccessToken(secret: KeyObject, claims: AccessClaims, ttlMs: number): string {
  return jwt.sign({ role: claims.role, sid: claims.sid }, secret, {
    algorithm: TOKEN_ALGORITHM,
    subject: claims.sub,
    expiresIn: Math.max(1, Math.floor(ttlMs / 1000)),
  });
}

/** Rejects with `token-expired` or `unauthenticated`. Says nothing about whether the session still lives. */
export function verifyAccessToken(secret: KeyObject, token: string): AccessClaims {
  try {
    return readClaims(jwt.verify(token, secret, { algorithms: [TOKEN_ALGORITHM] }));
  } catch (error) {
    throw tokenError(error);
  }
}

/** Narrows what a verified token carries; a token of ours always has all three. */
export function readClaims(payload: unknown): AccessClaims {
  if (
    typeof payload === 'object' &&
    payload !== null &&
    'sub' in payload &&
    'sid' in payload &&
    'role' in payload
  ) {
    const { sub, sid } = payload;
    const role = ROLES.find(known => known === payload.role);
    if (typeof sub === 'string' && typeof sid === 'string' && role) return { sub, sid, role };
  }
  throw new AppError('unauthenticated', { detail: 'The token is not an access token of this API' });
}

/** What a failed verification is called in the one table; it may come wrapped by a middleware. */
export function tokenError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof jwt.TokenExpiredError) return new AppError('token-expired', { cause: error });
  return new AppError('unauthenticated', { detail: 'The token is not valid', cause: error });
}

/** 256 random bits. Random tokens need no salt and no slow hash: `hashToken` of one is what is stored. */
export function newToken(): string {
  return randomBytes(32).toString('base64url');
}

/** SHA-256 in hex. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
