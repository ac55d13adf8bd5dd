import { AppError } from '#src/domain/errors.js';
import { MAX_CHANNELS } from './requests.js';

/** A page that has just loaded may ask for each of its channels by itself. */
const BURST = MAX_CHANNELS;
const PER_SECOND = 20;
const MAX_UNDER_WAY = MAX_CHANNELS;
/** Refusals are forgiven at this pace: who tries again once a second, as told, is never a flood. */
const FORGIVEN_PER_SECOND = 40;
const FLOOD = 200;

export interface Inbound {
  /**
   * Runs one request of a client, unless it asks too often or does not wait for answers: then it throws
   * `rate-limited` at once.
   */
  admit<T>(work: () => Promise<T>): Promise<T>;
  /** The client goes on regardless of being refused. */
  readonly flooding: boolean;
}

/** Bounds what one client can make us do: a bucket for its rate, a count for what is under way. */
export function createInbound(now: () => number = () => performance.now()): Inbound {
  let tokens = BURST;
  let refused = 0;
  let seenAt = now();
  let underWay = 0;

  function letTimePass(): void {
    const seconds = (now() - seenAt) / 1000;
    seenAt += seconds * 1000;
    tokens = Math.min(BURST, tokens + seconds * PER_SECOND);
    refused = Math.max(0, refused - seconds * FORGIVEN_PER_SECOND);
  }

  return {
    async admit(work) {
      letTimePass();
      if (tokens < 1 || underWay >= MAX_UNDER_WAY) {
        refused++;
        throw new AppError('rate-limited', { retryAfterS: 1 });
      }
      tokens--;
      underWay++;
      try {
        return await work();
      } finally {
        underWay--;
      }
    },
    get flooding() {
      return refused >= FLOOD;
    },
  };
}
