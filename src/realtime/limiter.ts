/** Runs what it is given, at most so many at once; the rest waits in order. Rejections are the caller's. */
export type Limiter = <T>(work: () => Promise<T>) => Promise<T>;

export function createLimiter(concurrency: number): Limiter {
  let running = 0;
  // Bounded by the callers: each of them awaits its own entry.
  const waiting: (() => void)[] = [];

  return async work => {
    if (running >= concurrency) await new Promise<void>(resolve => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
