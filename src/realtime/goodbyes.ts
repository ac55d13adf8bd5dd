import { setTimeout as sleep } from 'node:timers/promises';

const GRACE_MS = 1_000;

/** Waits until all of these have gone, for a second at most. */
export async function waitForGoodbyes(gone: readonly Promise<unknown>[]): Promise<void> {
  const deadline = new AbortController();
  const timeUp = sleep(GRACE_MS, undefined, { signal: deadline.signal }).catch(() => undefined);
  await Promise.race([Promise.all(gone), timeUp]);
  deadline.abort();
}
