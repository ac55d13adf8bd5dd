import { AppError } from '#src/domain/errors.js';

export interface RateLimit {
  /** Tells the buckets of one limit from those of another. */
  name: string;
  /** How many a minute, in the long run. */
  perMinute: number;
  /** How many at once after a quiet time; as many as a minute unless given. */
  burst?: number;
}

export interface Allowance {
  allowed: boolean;
  /** How many at once. */
  limit: number;
  remaining: number;
  /** Seconds until the whole limit is there again. */
  resetS: number;
  /** Seconds until one more is allowed; 0 when it is. */
  retryAfterS: number;
}

export interface RateLimiter {
  /** Takes one from the key's bucket, if there is one. */
  take(key: string): Promise<Allowance>;
  /** Gives one back: what it was taken for turned out not to count. */
  giveBack(key: string): Promise<void>;
}

export type CreateRateLimiter = (limit: RateLimit) => RateLimiter;

/** About 2 MB. The bucket that was touched longest ago is forgotten first, which can only forgive. */
const MAX_KEYS = 20_000;
const MINUTE_MS = 60_000;

/** A token bucket: how much it holds, and how fast that comes back. */
export interface Bucket {
  capacity: number;
  perMs: number;
}

export function bucketOf({ perMinute, burst = perMinute }: RateLimit): Bucket {
  return { capacity: burst, perMs: perMinute / MINUTE_MS };
}

export function allowanceOf({ capacity, perMs }: Bucket, allowed: boolean, tokens: number): Allowance {
  return {
    allowed,
    limit: capacity,
    remaining: Math.floor(tokens),
    resetS: Math.ceil((capacity - tokens) / perMs / 1000),
    retryAfterS: allowed ? 0 : Math.ceil((1 - tokens) / perMs / 1000),
  };
}

/** Buckets in this process. `now`: milliseconds since any fixed point; scripted by tests. */
export function createRateLimiter(limit: RateLimit, now = () => performance.now()): RateLimiter {
  const buckets = new Map<string, { tokens: number; at: number }>();
  const { capacity, perMs } = bucketOf(limit);

  function refilled(key: string): { tokens: number; at: number } {
    const at = now();
    const known = buckets.get(key);
    buckets.delete(key);
    const tokens = known ? Math.min(capacity, known.tokens + (at - known.at) * perMs) : capacity;
    const bucket = { tokens, at };
    buckets.set(key, bucket);
    if (buckets.size > MAX_KEYS) {
      const [oldest] = buckets.keys();
      if (oldest !== undefined) buckets.delete(oldest);
    }
    return bucket;
  }

  return {
    async take(key) {
      const bucket = refilled(key);
      const allowed = bucket.tokens >= 1;
      if (allowed) bucket.tokens -= 1;
      return allowanceOf({ capacity, perMs }, allowed, bucket.tokens);
    },
    async giveBack(key) {
      const bucket = refilled(key);
      bucket.tokens = Math.min(capacity, bucket.tokens + 1);
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
export async function takeOrThrow(limiter: RateLimiter, key: string): Promise<Allowance> {
  const allowance = await limiter.take(key);
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

export const RATE_LIMIT_HEADERS = {
  'RateLimit-Limit': 'How many at once',
  'RateLimit-Remaining': 'How many are left',
  'RateLimit-Reset': 'Seconds until all are there again',
};
