import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import { raiseConsoleAlert } from '#src/db/consoleAlerts.js';
import type { AlertCode } from '#src/domain/alert.js';
import { causeOf, type ConsoleCause } from '#src/domain/consoleCause.js';
import type { ConsoleEntry } from '#src/domain/consoleEntry.js';

/** A server that falls behind now and then is none that cannot keep up: so often within so long. */
const LAGS = { count: 5, withinMs: 5 * 60_000 };

/** What was said of a server's newest run. */
interface Watched {
  run_id: string;
  told: Set<AlertCode>;
  /** The newest times at which it could not keep up, oldest first. */
  lags: number[];
}

/** Looks at what the consoles of one agent say, and tells people of causes: each once for a run. */
export class ConsoleWatch {
  /** One entry a server of the agent. */
  readonly #watched = new Map<string, Watched>();

  constructor(private readonly deps: { db: Database; bus: Bus }) {}

  /** `at_ms`: the time of entries that have none of their own. Rejects with what the database says. */
  async look(
    server_id: string,
    { run_id, at_ms, entries }: { run_id: string; at_ms: number; entries: readonly ConsoleEntry[] },
  ): Promise<void> {
    for (const entry of entries) {
      const cause = causeOf(entry);
      if (cause) await this.#consider({ server_id, run_id, cause, at_ms: entry.at_ms ?? at_ms });
    }
  }

  async #consider({
    at_ms,
    ...found
  }: {
    server_id: string;
    run_id: string;
    cause: ConsoleCause;
    at_ms: number;
  }): Promise<void> {
    const watched = this.#watchedOf(found.server_id, found.run_id);
    const { code } = found.cause;
    if (watched.told.has(code) || (code === 'overloaded' && !isLasting(watched.lags, at_ms))) return;
    watched.told.add(code);
    for (const user_id of await raiseConsoleAlert(this.deps.db, found)) {
      this.deps.bus.publish('notifications', { user_id });
    }
  }

  #watchedOf(serverId: string, run_id: string): Watched {
    let watched = this.#watched.get(serverId);
    if (watched?.run_id !== run_id) {
      watched = { run_id, told: new Set(), lags: [] };
      this.#watched.set(serverId, watched);
    }
    return watched;
  }
}

/** Notes one more lag, and answers whether there were enough of them lately. */
function isLasting(lags: number[], at_ms: number): boolean {
  lags.push(at_ms);
  if (lags.length > LAGS.count) lags.shift();
  return lags.length === LAGS.count && at_ms - (lags[0] ?? 0) <= LAGS.withinMs;
}
