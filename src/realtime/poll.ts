/**
 * Calls `look` every so many milliseconds, the next call counted from the end of the last one, so that a slow database
 * is not asked twice at a time. `look` must not reject. Answers the stop function, which waits for a call under way.
 */
export function startPoll(everyMs: number, look: () => Promise<void>): () => Promise<void> {
  let stopped = false;
  let underWay = Promise.resolve();
  let timer = setTimeout(tick, everyMs);

  function tick(): void {
    underWay = look().then(() => {
      if (!stopped) timer = setTimeout(tick, everyMs);
    });
  }

  return async () => {
    stopped = true;
    clearTimeout(timer);
    await underWay;
  };
}
