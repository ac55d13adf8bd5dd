import { AppError } from '#src/domain/errors.js';
import { MAX_CHANNELS } from './requests.js';

/** A page that has just loaded may ask for each of its channels by itself. */
const BURST = MAX_CHANNELS;
const PER_SECOND = 20;
const MAX_UNDER_WAY = MAX_CHANNELS;

export interface Inbound {
  /**
   * Runs one request of a client, unless it asks too often or does not wait for answers: then it throws
   * `rate-limited` at once.
   */
  admit<T>(work: () => Promise<T>): Promise<T>;
  /** Refusals since the last request that was let through: a client that goes on regardless is a flood. */
  readonly refusedInARow: number;
}

/** Bounds what one client can make us do: a bucket for its rate, a count for what is under way. */
export function createInbound(now: () => number = () => performance.now()): Inbound {
  let tokens = BURST;
  let filledAt = now();
  let underWay = 0;
  let refused = 0;

  return {
    async admit(work) {
      const at = now();
      tokens = Math.min(BURST, tokens + ((at - filledAt) / 1000) * PER_SECOND);
      filledAt = at;
      if (tokens < 1 || underWay >= MAX_UNDER_WAY) {
        refused++;
        throw new AppError('rate-limited', { retryAfterS: 1 });
      }
      tokens--;
      underWay++;
      refused = 0;
      try {
        return await work();
      } finally {
        underWay--;
      }
    },
    get refusedInARow() {
      return refused;
    },
  };
}
