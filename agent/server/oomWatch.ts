import { oomKills } from '../system.js';

/** From the kernel's decision until the memory of a big JVM is given back, it still looks alive. */
const SPAN_MS = 2_000;

interface Count {
  readonly atMs: number;
  readonly kills: number;
}

/**
 * Whether the kernel has killed for want of memory in the last moments of a process. It counts for the whole host, so
 * this says something only of a process that was seen killed.
 */
export class OomWatch {
  /** `before` is at least SPAN_MS older than `latest`, and never much more. */
  #before: Count = now();
  #latest: Count = this.#before;

  /** While the process lives, again and again. */
  look(): void {
    if (performance.now() - this.#latest.atMs < SPAN_MS) return;
    this.#before = this.#latest;
    this.#latest = now();
  }

  hasKilled(): boolean {
    return oomKills() > this.#before.kills;
  }
}

function now(): Count {
  return { atMs: performance.now(), kills: oomKills() };
}
