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

export interface VerifiedClaims extends AccessClaims {
  expiresAt: Date;
}

export function issueAccessToken(secret: KeyObject, claims: AccessClaims, ttlMs: number): string {
  return jwt.sign({ role: claims.role, sid: claims.sid }, secret, {
    algorithm: TOKEN_ALGORITHM,
    subject: claims.sub,
    expiresIn: Math.max(1, Math.floor(ttlMs / 1000)),
  });
}

/** Rejects with `token-expired` or `unauthenticated`. Says nothing about whether the session still lives. */
export function verifyAccessToken(secret: KeyObject, token: string): VerifiedClaims {
  try {
    return readClaims(jwt.verify(token, secret, { algorithms: [TOKEN_ALGORITHM] }));
  } catch (error) {
    throw tokenError(error);
  }
}

/** Narrows what a verified token carries; a token of ours always has all four. */
export function readClaims(payload: unknown): VerifiedClaims {
  const { sub, sid, role, exp }: Record<string, unknown> = isObject(payload) ? payload : {};
  const known = ROLES.find(each => each === role);
  if (typeof sub === 'string' && typeof sid === 'string' && typeof exp === 'number' && known) {
    return { sub, sid, role: known, expiresAt: new Date(exp * 1000) };
  }
  throw new AppError('unauthenticated', { detail: 'The token is not an access token of this API' });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
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

/** Tells a key from an access token, and tells scanners of leaked secrets what they have found. */
const API_KEY_PREFIX = 'aymc_';
/** Of these, eight characters are the key's own: enough to know it again, too few to guess the rest. */
const SHOWN_CHARS = API_KEY_PREFIX.length + 8;

export interface NewApiKey {
  /** Plain, for its owner; stored as `hashToken` of it. */
  key: string;
  /** By which people recognise it. */
  prefix: string;
}

export function newApiKey(): NewApiKey {
  const key = API_KEY_PREFIX + newToken();
  return { key, prefix: key.slice(0, SHOWN_CHARS) };
}

/** The token of an Authorization header; undefined when it has none. */
export function bearerOf(authorization = ''): string | undefined {
  return /^Bearer (\S+)$/i.exec(authorization)?.[1];
}

export function isApiKey(token: string): boolean {
  return token.startsWith(API_KEY_PREFIX);
}
