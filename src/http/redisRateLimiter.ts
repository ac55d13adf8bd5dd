import { Redis } from 'ioredis';
import type { Logger } from '#src/observability/logger.js';
import {
  allowanceOf,
  bucketOf,
  createRateLimiter,
  type CreateRateLimiter,
  type RateLimit,
  type RateLimiter,
} from './rateLimiter.js';

/** A request waits no longer than that for being counted. */
const ANSWER_TIMEOUT_MS = 250;
/** After a failure this process counts by itself for so long before it asks again. */
const PAUSE_MS = 1_000;
const MAX_RECONNECT_DELAY_MS = 2_000;

/**
 * One bucket, refilled by Redis's own clock and changed by `ARGV[3]` if it holds that much: all in one step, so that
 * processes never take the same token. A full bucket is no key at all.
 */
const CHANGE = `
local capacity, per_ms, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local known = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = capacity
if known[1] then tokens = math.min(capacity, known[1] + math.max(0, now - known[2]) * per_ms) end
local allowed = tokens >= amount
if allowed then tokens = math.min(capacity, tokens - amount) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.3f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - tokens) / per_ms) + 1)
return {allowed and 1 or 0, tostring(tokens)}
`;

export interface RedisLimits {
  create: CreateRateLimiter;
  close(): void;
}

/** Limits that all api processes share. While Redis is away each counts for itself, which can only forgive. */
export function createRedisLimits({ url, logger }: { url: string; logger: Logger }): RedisLimits {
  const redis = new Redis(url, {
    connectionName: 'aymc-limits',
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 5_000,
    commandTimeout: ANSWER_TIMEOUT_MS,
    retryStrategy: attempt => Math.min(50 * 2 ** attempt, MAX_RECONNECT_DELAY_MS),
  });
  let pausedUntil = 0;
  let failing = false;
  // The bus logs an outage of the same Redis.
  redis.on('error', () => undefined);

  async function change(key: string, limit: RateLimit, amount: number) {
    const bucket = bucketOf(limit);
    const args = [bucket.capacity, bucket.perMs, amount];
    const answer: unknown = await redis.eval(CHANGE, 1, `aymc:limit:${limit.name}:${key}`, ...args);
    const parts: unknown[] = Array.isArray(answer) ? answer : [];
    return allowanceOf(bucket, parts[0] === 1, Number(parts[1]));
  }

  /** Null when Redis has not answered. */
  async function tryChange(key: string, limit: RateLimit, amount: number) {
    if (redis.status !== 'ready' || performance.now() < pausedUntil) return null;
    try {
      const allowance = await change(key, limit, amount);
      failing = false;
      return allowance;
    } catch (error) {
      pausedUntil = performance.now() + PAUSE_MS;
      if (!failing) logger.warn({ err: error }, 'Redis does not count; each process limits by itself');
      failing = true;
      return null;
    }
  }

  return {
    create(limit): RateLimiter {
      const own = createRateLimiter(limit);
      return {
        take: async key => (await tryChange(key, limit, 1)) ?? own.take(key),
        giveBack: async key => {
          if (!(await tryChange(key, limit, -1))) await own.giveBack(key);
        },
      };
    },
    close: () => redis.disconnect(),
  };
}
