import type { Bus, BusTopics, ConsoleLine } from '#src/bus/bus.js';
import { LiveFeed } from './liveFeed.js';
import { logMessage } from './messages.js';

/** In order, at most `limit`: the lines after the cursor, or without one the newest. */
export type ReadConsoleBacklog = (
  serverId: string,
  after: string | null,
  limit: number,
) => Promise<ConsoleLine[]>;

/** Opens the flow of console lines for one feed; answers how to close it again. */
export type ConsoleTap = () => () => void;

/**
 * One subscription of the bus for all consoles, while there are any: the lines of a whole fleet are too many to be
 * thrown away in every process.
 */
export function createConsoleTap(bus: Bus, listener: (lines: BusTopics['console']) => void): ConsoleTap {
  let open = 0;
  let stop = () => {};
  return () => {
    if (open++ === 0) stop = bus.subscribe('console', listener);
    return () => {
      if (--open === 0) stop();
    };
  };
}

interface ConsoleFeedDeps {
  tap: ConsoleTap;
  readBacklog: ReadConsoleBacklog;
}

/** `server:<id>:logs`: what storage has since the cursor, then the live lines. */
export class ConsoleFeed extends LiveFeed {
  readonly #name: string;
  readonly #serverId: string;
  readonly #untap: () => void;

  constructor(name: string, serverId: string, { tap, readBacklog }: ConsoleFeedDeps) {
    super(name, async (after, limit) => {
      const lines = await readBacklog(serverId, after, limit);
      return lines.map(line => logMessage(name, serverId, line));
    });
    this.#name = name;
    this.#serverId = serverId;
    this.#untap = tap();
  }

  publishLines(lines: readonly ConsoleLine[]): void {
    this.publish(lines.map(line => logMessage(this.#name, this.#serverId, line)));
  }

  override async close(): Promise<void> {
    this.#untap();
    await super.close();
  }
}
