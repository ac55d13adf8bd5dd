export interface Limiter {
  /** Runs `work` when there is room, in the order of the calls. Rejections are the caller's. */
  <T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>;
}

/** At most so many at once. */
export function createLimiter(concurrency: number): Limiter {
  let running = 0;
  // Bounded by the callers: each of them awaits its own entry.
  const waiting: (() => void)[] = [];
  const idlers: (() => void)[] = [];

  async function limit<T>(work: () => Promise<T>): Promise<T> {
    if (running >= concurrency) await new Promise<void>(resolve => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      // The place goes from hand to hand: whoever waits has it before anyone new can ask.
      const next = waiting.shift();
      if (next) next();
      else if (--running === 0) idlers.splice(0).forEach(resolve => resolve());
    }
  }

  async function idle(): Promise<void> {
    if (running > 0) await new Promise<void>(resolve => idlers.push(resolve));
  }

  return Object.assign(limit, { idle });
}
