import { setTimeout as sleep } from 'node:timers/promises';

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 2_000;

export interface Pump {
  /** Work is wanted: a poke while it runs means once more afterwards, and any number of pokes are one. */
  poke(): void;
  /** Resolves when nothing runs any more; later pokes do nothing. */
  stop(): Promise<void>;
}

/**
 * Runs `work` when poked, never twice at a time. Work that failed is still wanted, so it is tried again with back-off
 * until it succeeds: what was to be read is only late while Postgres is away.
 */
export function createPump(work: () => Promise<void>, onFailure: (error: unknown) => void): Pump {
  const stopping = new AbortController();
  let wanted = false;
  let running: Promise<void> | null = null;

  async function run(): Promise<void> {
    let failures = 0;
    while (wanted && !stopping.signal.aborted) {
      wanted = false;
      try {
        await work();
        failures = 0;
      } catch (error) {
        wanted = true;
        if (stopping.signal.aborted) break;
        if (failures++ === 0) onFailure(error);
        const delay = Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS);
        await sleep(delay, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
    running = null;
  }

  return {
    poke() {
      wanted = true;
      running ??= run();
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
