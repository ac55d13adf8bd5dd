import { AppError } from '#src/domain/errors.js';

export interface RateLimit {
  /** How many a minute, and how many at once after a quiet minute. */
  perMinute: number;
  /** Milliseconds since any fixed point; scripted by tests. */
  now?: () => number;
}

export interface Allowance {
  allowed: boolean;
  limit: number;
  remaining: number;
  /** Seconds until the whole limit is there again. */
  resetS: number;
  /** Seconds until one more is allowed; 0 when it is. */
  retryAfterS: number;
}

export interface RateLimiter {
  /** Takes one from the key's bucket, if there is one. */
  take(key: string): Allowance;
  /** Gives one back: what it was taken for turned out not to count. */
  giveBack(key: string): void;
}

/** About 2 MB. The bucket that was touched longest ago is forgotten first, which can only forgive. */
const MAX_KEYS = 20_000;
const MINUTE_MS = 60_000;

/** Token buckets in this process, one a key. */
export function createRateLimiter({ perMinute, now = () => performance.now() }: RateLimit): RateLimiter {
  const buckets = new Map<string, { tokens: number; at: number }>();
  const perMs = perMinute / MINUTE_MS;

  function refilled(key: string): { tokens: number; at: number } {
    const at = now();
    const known = buckets.get(key);
    buckets.delete(key);
    const tokens = known ? Math.min(perMinute, known.tokens + (at - known.at) * perMs) : perMinute;
    const bucket = { tokens, at };
    buckets.set(key, bucket);
    if (buckets.size > MAX_KEYS) {
      const [oldest] = buckets.keys();
      if (oldest !== undefined) buckets.delete(oldest);
    }
    return bucket;
  }

  return {
    take(key) {
      const bucket = refilled(key);
      const allowed = bucket.tokens >= 1;
      if (allowed) bucket.tokens -= 1;
      return {
        allowed,
        limit: perMinute,
        remaining: Math.floor(bucket.tokens),
        resetS: Math.ceil((perMinute - bucket.tokens) / perMs / 1000),
        retryAfterS: allowed ? 0 : Math.ceil((1 - bucket.tokens) / perMs / 1000),
      };
    },
    giveBack(key) {
      const bucket = refilled(key);
      bucket.tokens = Math.min(perMinute, bucket.tokens + 1);
    },
  };
}

/** A 429 that also says how the caller stands. */
export class RateLimited extends AppError {
  constructor(readonly allowance: Allowance) {
    super('rate-limited', { retryAfterS: allowance.retryAfterS });
  }
}

/** Rejects with RateLimited when nothing is left. */
export function takeOrThrow(limiter: RateLimiter, key: string): Allowance {
  const allowance = limiter.take(key);
  if (!allowance.allowed) throw new RateLimited(allowance);
  return allowance;
}

/** draft-ietf-httpapi-ratelimit-headers-06. */
export function rateLimitHeaders({ limit, remaining, resetS }: Allowance): Record<string, string> {
  return {
    'RateLimit-Limit': String(limit),
    'RateLimit-Remaining': String(remaining),
    'RateLimit-Reset': String(resetS),
  };
}
