import type { ConsoleChunk, EventBatch } from '#proto/gen/agent.js';
import type { Bus } from '#src/bus/bus.js';
import { storeConsole, type ConsolePosition } from '#src/db/consoleStorage.js';
import type { Database } from '#src/db/connect.js';
import { joinEntries, mayGoOn, type ConsoleEntry, type ReadTime } from '#src/domain/consoleEntry.js';
import { ConsoleWatch } from './consoleWatch.js';

/** A trace that is still being printed is waited for, so that it becomes one row. */
const QUIET_MS = 150;
/** …but not for more than this. */
const PIECE_LINES_MAX = 2_000;
/** Statements at once: one server's slow one is not the others' wait, and most connections stay with everyone else. */
const STORES_AT_ONCE = 4;
/** What may wait here, of one server and of all, in bytes of console; beyond it the agent's disk is the buffer. */
const LANE_BYTES_MAX = 96 * 1024;
const HELD_BYTES_MAX = 1024 * 1024;

/** Servers that the agent tells of so soon after the stream was opened may have printed while nobody followed them. */
const OPENING_MS = 5_000;
/** A smaller chunk is all that there was: from here on lines are read as they are printed. */
const BACKLOG_BYTES = 16 * 1024;
const DAY_MS = 86_400_000;

/** Lines of one run that are stored together. */
interface Piece {
  run_id: string;
  to: number;
  /** Of its newest chunk. */
  read: ReadTime;
  /** Its lines may be older than their reading. */
  isBacklog: boolean;
  bytes: number;
  lines: string[];
  droppedBytes: number;
  /** Its last line may go on in the next chunk. */
  open: boolean;
  /** On our own monotonic clock. */
  begunMs: number;
}

/** What waits of one server, in order. Only the last piece is open or grows. */
interface Lane {
  readonly serverId: string;
  readonly pieces: Piece[];
  bytes: number;
  isBehind: boolean;
  /** One of its pieces is being stored, or the lane waits for its turn. */
  busy: boolean;
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
 * people see live is what they will find in the history, with the same cursor. Servers take turns, piece by piece; the
 * lines of one are stored one piece after the other. Whoever waits for `room` holds the stream back, so a flood waits
 * at the agent, on disk.
 */
export class ConsoleCollector {
  /** Lines stored since this stream was opened, in bytes of console. */
  storedBytes = 0;
  /** Where each server's console is stored to. One entry a server of the agent, as in #lanes. */
  readonly #positions: Map<string, ConsolePosition>;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes with something to store, in the order of their turns. Each is in it once. */
  readonly #turns: Lane[] = [];
  readonly #storing = new Set<Promise<void>>();
  readonly #watch: ConsoleWatch;
  readonly #openedMs = performance.now();
  #heldBytes = 0;
  #failure: { cause: unknown } | undefined;
  #closed = false;
  #onProgress: () => void = () => undefined;

  constructor(
    private readonly deps: { db: Database; bus: Bus },
    positions: ReadonlyMap<string, ConsolePosition>,
    /** Something could not be stored: the stream has to be opened anew. `room` rejects from now on. */
    private readonly onFailure: () => void,
  ) {
    this.#positions = new Map(positions);
    this.#watch = new ConsoleWatch(deps);
  }

  add(serverId: string, chunk: ConsoleChunk, read: ReadTime): void {
    const lane = this.#laneOf(serverId);
    const last = lane.pieces.at(-1);
    const bytes = chunk.nextOffset - chunk.offset;
    const open = mayGoOn(chunk.lines);
    if (last && continues(last, chunk)) {
      for (const line of chunk.lines) last.lines.push(line);
      last.to = chunk.nextOffset;
      last.bytes += bytes;
      last.read = read;
      last.open = open;
    } else {
      lane.pieces.push({
        run_id: chunk.runId,
        to: chunk.nextOffset,
        read,
        isBacklog: lane.isBehind,
        bytes,
        lines: [...chunk.lines],
        droppedBytes: chunk.droppedBytes,
        open,
        begunMs: performance.now(),
      });
    }
    if (bytes < BACKLOG_BYTES) lane.isBehind = false;
    lane.bytes += bytes;
    this.#heldBytes += bytes;
    this.#schedule(lane);
  }

  /** Resolves when more may be added. Rejects with StalePosition, or with what the database says. */
  async room(): Promise<void> {
    while (!this.#failure && this.#isFull()) {
      await new Promise<void>(resolve => {
        this.#onProgress = resolve;
      });
    }
    this.throwFailure();
  }

  /** Throws what `room` rejects with, if anything. */
  throwFailure(): void {
    if (this.#failure) throw this.#failure.cause;
  }

  /** Stores what has waited long enough. */
  settle(): void {
    const now = performance.now();
    for (const lane of this.#lanes.values()) {
      const last = lane.pieces.at(-1);
      if (!last?.open || now - last.begunMs < QUIET_MS) continue;
      last.open = false;
      this.#schedule(lane);
    }
  }

  /** Resolves when nothing is being stored any more. What still waited is forgotten; the next stream brings it again. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#storing);
  }

  #laneOf(serverId: string): Lane {
    let lane = this.#lanes.get(serverId);
    if (!lane) {
      const isBehind = performance.now() - this.#openedMs < OPENING_MS;
      lane = { serverId, pieces: [], bytes: 0, isBehind, busy: false };
      this.#lanes.set(serverId, lane);
    }
    return lane;
  }

  #isFull(): boolean {
    if (this.#heldBytes > HELD_BYTES_MAX) return true;
    return [...this.#lanes.values()].some(({ bytes }) => bytes > LANE_BYTES_MAX);
  }

  #schedule(lane: Lane): void {
    if (lane.busy || !isDue(lane)) return;
    lane.busy = true;
    this.#turns.push(lane);
    this.#work();
  }

  #work(): void {
    while (this.#storing.size < STORES_AT_ONCE && !this.#closed && !this.#failure) {
      const lane = this.#turns.shift();
      const piece = lane?.pieces.shift();
      if (!lane || !piece) return;
      const stored = this.#store(lane.serverId, piece)
        .catch((cause: unknown) => {
          this.#failure ??= { cause };
          this.onFailure();
        })
        .finally(() => {
          this.#storing.delete(stored);
          this.#release(lane, piece);
        });
      this.#storing.add(stored);
    }
  }

  #release(lane: Lane, piece: Piece): void {
    lane.bytes -= piece.bytes;
    this.#heldBytes -= piece.bytes;
    lane.busy = false;
    this.#schedule(lane);
    this.#work();
    this.#onProgress();
  }

  async #store(server_id: string, piece: Piece): Promise<void> {
    const { run_id, to, read, lines, droppedBytes } = piece;
    const known = this.#positions.get(server_id);
    const from = known?.run_id === run_id ? known.byte_offset : 0;
    const entries = joinEntries(lines, piece.isBacklog ? read : undefined);
    if (droppedBytes > 0) entries.unshift({ ...lossOf(droppedBytes), ...timeOf(entries[0]) });
    const at_ms = read.at_ms;
    const result = await storeConsole(this.deps.db, { server_id, run_id, from, to, at_ms, entries });
    if (result.outcome === 'elsewhere' && result.byte_offset < to) {
      throw new StalePosition(server_id, { run_id, byte_offset: result.byte_offset });
    }
    this.#positions.set(server_id, { run_id, byte_offset: to });
    if (result.outcome !== 'stored' || result.head === null) return;
    this.storedBytes += to - from;
    this.deps.bus.publish('console', { server_id, head: result.head });
    await this.#watch.look(server_id, { run_id, at_ms, entries });
  }
}

function continues({ run_id, lines }: Piece, { runId, droppedBytes }: ConsoleChunk): boolean {
  return run_id === runId && droppedBytes === 0 && lines.length < PIECE_LINES_MAX;
}

function isDue({ pieces: [first, ...later] }: Lane): boolean {
  if (!first) return false;
  return later.length > 0 || !first.open || first.lines.length >= PIECE_LINES_MAX;
}

/** Stands in the history where the lost lines would have been. */
function lossOf(bytes: number): ConsoleEntry {
  const message = `${bytes} bytes of console output before this line are lost`;
  return { level: 'WARN', source: 'aymc', message, exception: null, stack_trace: null };
}

function timeOf(entry: ConsoleEntry | undefined): Pick<ConsoleEntry, 'at_ms'> {
  return entry?.at_ms === undefined ? {} : { at_ms: entry.at_ms };
}

/** When an event of a batch that just came was read at its agent, whose clock may be wrong. */
export function readTimeOf({ sentAtMs, utcOffsetMinutes }: EventBatch, atMs: number): ReadTime {
  const ageMs = sentAtMs === 0 ? 0 : Math.max(0, sentAtMs - atMs);
  return { at_ms: Date.now() - ageMs, clock_ms: (atMs + utcOffsetMinutes * 60_000) % DAY_MS };
}
