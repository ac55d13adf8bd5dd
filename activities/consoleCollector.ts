import type { ConsoleChunk } from '#proto/gen/agent.js';
import type { Bus } from '#src/bus/bus.js';
import { storeConsole, type ConsolePosition } from '#src/db/consoleStorage.js';
import type { Database } from '#src/db/connect.js';
import { joinEntries, mayGoOn, type ConsoleEntry } from '#src/domain/consoleEntry.js';

/** A trace that is still being printed is waited for, so that it becomes one row. */
const QUIET_MS = 150;
/** …but not for more than this. */
const WAITING_LINES_MAX = 2_000;

interface Waiting {
  run_id: string;
  from: number;
  to: number;
  atMs: number;
  lines: string[];
  droppedBytes: number;
}

/** Our position is not what storage has: the stream has to be opened anew, from there. */
export class StalePosition extends Error {
  constructor(
    readonly serverId: string,
    readonly position: ConsolePosition,
  ) {
    super(`the console of ${serverId} is stored up to ${position.byte_offset} of ${position.run_id}`);
    this.name = 'StalePosition';
  }
}

/**
 * Stores the consoles of one agent, for as long as one stream of events lasts. First stored, then announced: what
 * people see live is what they will find in the history, with the same cursor. Whoever waits for `add` holds the stream
 * back, so a flood waits at the agent, on disk.
 */
export class ConsoleCollector {
  /** Lines stored since this stream was opened, in bytes of console. */
  storedBytes = 0;
  /** Where each server's console is stored to. One entry a server of the agent. */
  readonly #positions: Map<string, ConsolePosition>;
  /** Lines that the next ones may belong to. Bounded by WAITING_LINES_MAX and QUIET_MS. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(
    private readonly deps: { db: Database; bus: Bus },
    positions: ReadonlyMap<string, ConsolePosition>,
  ) {
    this.#positions = new Map(positions);
  }

  /** Rejects with StalePosition, or with what the database says; then the stream has to be opened anew. */
  async add(serverId: string, chunk: ConsoleChunk, atMs: number): Promise<void> {
    let waiting = this.#waiting.get(serverId);
    if (waiting && (waiting.run_id !== chunk.runId || chunk.droppedBytes > 0)) {
      await this.#store(serverId, waiting);
      waiting = undefined;
    }
    if (waiting) {
      waiting.lines.push(...chunk.lines);
      waiting.to = chunk.nextOffset;
    } else {
      const known = this.#positions.get(serverId);
      waiting = {
        run_id: chunk.runId,
        from: known?.run_id === chunk.runId ? known.byte_offset : 0,
        to: chunk.nextOffset,
        atMs,
        lines: chunk.lines,
        droppedBytes: chunk.droppedBytes,
      };
      this.#waiting.set(serverId, waiting);
    }
    if (mayGoOn(chunk.lines) && waiting.lines.length < WAITING_LINES_MAX) return;
    await this.#store(serverId, waiting);
  }

  /** Stores what has waited long enough. */
  async settle(now = Date.now()): Promise<void> {
    for (const [serverId, waiting] of this.#waiting) {
      if (now - waiting.atMs >= QUIET_MS) await this.#store(serverId, waiting);
    }
  }

  async #store(serverId: string, { run_id, from, to, atMs, lines, droppedBytes }: Waiting): Promise<void> {
    this.#waiting.delete(serverId);
    const entries = joinEntries(lines);
    if (droppedBytes > 0) entries.unshift(lossOf(droppedBytes));
    const piece = { server_id: serverId, run_id, from, to, at_ms: atMs, entries };
    const result = await storeConsole(this.deps.db, piece);
    if (result.outcome === 'elsewhere' && result.byte_offset < to) {
      throw new StalePosition(serverId, { run_id, byte_offset: result.byte_offset });
    }
    this.#positions.set(serverId, { run_id, byte_offset: to });
    if (result.outcome !== 'stored' || result.head === null) return;
    this.storedBytes += to - from;
    this.deps.bus.publish('console', { server_id: serverId, head: result.head });
  }
}

/** Stands in the history where the lost lines would have been. */
function lossOf(bytes: number): ConsoleEntry {
  const message = `${bytes} bytes of console output before this line are lost`;
  return { level: 'WARN', source: 'aymc', message, exception: null, stack_trace: null };
}
