import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** Give up after this many milliseconds (default 10 s). */
  timeoutMs?: number;
  /** Pause between two looks, in milliseconds (default 25). */
  everyMs?: number;
  /** What was awaited, for the message of the failure. */
  what: string;
}

/**
 * Polls `condition` until it answers something truthy, and returns that. A condition that throws counts as "not yet";
 * its last error is the cause of the time-out, so that a test says what was wrong and not only that it waited.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 10_000, everyMs = 25, what }: WaitOptions,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`gave up after ${timeoutMs} ms waiting for ${what}`, { cause: lastError });
    }
    await sleep(everyMs);
  }
}
