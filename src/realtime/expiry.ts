/** setTimeout takes no more (24.8 days), and calls at once beyond it. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Calls `onExpired` at that time (null: never). Answers the stop function. */
export function startExpiry(at: Date | null, onExpired: () => void): () => void {
  if (at === null) return () => undefined;
  let timer: NodeJS.Timeout;

  function arm(time: number): void {
    const left = time - Date.now();
    timer = setTimeout(() => (left > MAX_TIMER_MS ? arm(time) : onExpired()), Math.min(left, MAX_TIMER_MS));
    timer.unref();
  }

  arm(at.getTime());
  return () => clearTimeout(timer);
}
