/** Timers with an owner: all of them end with `clear()`, so that a stopped agent leaves nothing behind. */
export class Timers {
  readonly #running = new Set<NodeJS.Timeout>();

  /** Runs `work` at once for 0 and never for Infinity. Answers how to call it off. */
  after(ms: number, work: () => void): () => void {
    if (ms === 0) {
      work();
      return () => undefined;
    }
    if (!Number.isFinite(ms)) return () => undefined;
    const timer = setTimeout(() => {
      this.#running.delete(timer);
      work();
    }, ms);
    this.#running.add(timer);
    return () => {
      clearTimeout(timer);
      this.#running.delete(timer);
    };
  }

  clear(): void {
    for (const timer of this.#running) clearTimeout(timer);
    this.#running.clear();
  }
}
