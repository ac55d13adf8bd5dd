import { randomUUID } from 'node:crypto';
import type {
  AgentEvent,
  ConsoleChunk,
  ConsolePosition,
  EventBatch,
  StateChange,
  StreamEventsRequest,
} from '#proto/gen/agent.js';
import { SampleLog } from './sampleLog.js';

const JOURNAL_KEPT = 10_000;
const LINES_KEPT_PER_RUN = 2_000;
const RUNS_KEPT = 3;
const EVENTS_PER_BATCH = 256;
const BYTES_PER_CHUNK = 64 * 1024;

interface Line {
  text: string;
  offset: number;
  nextOffset: number;
}

interface RunConsole {
  runId: string;
  lines: Line[];
  end: number;
}

/** Where one StreamEvents call stands. It pulls, so a slow reader costs nothing but its cursor. */
export interface EventCursor {
  seq: number;
  sampleSeq: number;
  readonly positions: Map<string, ConsolePosition>;
  /** Servers that may have console lines beyond their position. */
  readonly behind: Set<string>;
  /** Called when there may be something new. */
  wake: () => void;
}

/** The journal of state changes, the consoles and the samples, in memory and bounded. */
export class EventLog {
  journalId: string = randomUUID();
  readonly samples: SampleLog;

  constructor(private readonly identity: { readonly incarnation: string }) {
    this.samples = new SampleLog(identity);
  }

  #lastSeq = 0;
  #journal: { seq: number; event: AgentEvent }[] = [];
  readonly #consoles = new Map<string, RunConsole[]>();
  readonly #cursors = new Set<EventCursor>();

  record(serverId: string, change: Omit<StateChange, 'seq'>): void {
    this.#lastSeq += 1;
    const state: StateChange = { ...change, seq: this.#lastSeq };
    const event: AgentEvent = { serverId, atMs: Date.now(), event: { $case: 'state', state } };
    this.#journal.push({ seq: this.#lastSeq, event });
    if (this.#journal.length > 2 * JOURNAL_KEPT) this.#journal = this.#journal.slice(-JOURNAL_KEPT);
    this.wake();
  }

  beginRun(serverId: string, runId: string): void {
    const runs = this.#consoles.get(serverId) ?? [];
    runs.push({ runId, lines: [], end: 0 });
    if (runs.length > RUNS_KEPT) runs.shift();
    this.#consoles.set(serverId, runs);
  }

  print(serverId: string, lines: readonly string[]): void {
    const run = this.#consoles.get(serverId)?.at(-1);
    if (run === undefined) return;
    for (const text of lines) {
      const nextOffset = run.end + Buffer.byteLength(text) + 1;
      run.lines.push({ text, offset: run.end, nextOffset });
      run.end = nextOffset;
    }
    if (run.lines.length > 2 * LINES_KEPT_PER_RUN) run.lines = run.lines.slice(-LINES_KEPT_PER_RUN);
    for (const cursor of this.#cursors) {
      cursor.behind.add(serverId);
      cursor.wake();
    }
  }

  /** There may be something new for everyone who reads. */
  wake(): void {
    for (const cursor of this.#cursors) cursor.wake();
  }

  /** Where the console of the server's last run ends. */
  consoleEnd(serverId: string): number {
    return this.#consoles.get(serverId)?.at(-1)?.end ?? 0;
  }

  removeServer(serverId: string): void {
    this.#consoles.delete(serverId);
  }

  /** A new journal: what was kept of the old one is gone, as after a lost disk. */
  loseJournal(): void {
    this.journalId = randomUUID();
    this.#journal = [];
    this.#lastSeq = 0;
  }

  subscribe(request: StreamEventsRequest, wake: () => void): EventCursor {
    const sameJournal = request.journalId === this.journalId;
    const positions = new Map(Object.entries(request.console));
    for (const [serverId, runs] of this.#consoles) {
      const last = runs.at(-1);
      if (last && !positions.has(serverId)) positions.set(serverId, { runId: last.runId, offset: last.end });
    }
    const behind = new Set(positions.keys());
    const seq = sameJournal ? request.afterSeq : 0;
    const cursor = { seq, sampleSeq: this.samples.seqAfter(request.samples), positions, behind, wake };
    this.#cursors.add(cursor);
    return cursor;
  }

  unsubscribe(cursor: EventCursor): void {
    this.#cursors.delete(cursor);
  }

  batchOf(events: AgentEvent[]): EventBatch {
    return {
      journalId: this.journalId,
      events,
      sentAtMs: Date.now(),
      incarnation: this.identity.incarnation,
      utcOffsetMinutes: 0,
    };
  }

  /** What comes next at the cursor, which moves on; undefined when there is nothing new. */
  next(cursor: EventCursor): EventBatch | undefined {
    const first = this.#firstAfter(cursor.seq);
    const events: AgentEvent[] = [];
    for (const { seq, event } of this.#journal.slice(first, first + EVENTS_PER_BATCH)) {
      cursor.seq = seq;
      events.push(event);
    }
    for (const { seq, event } of this.samples.after(cursor.sampleSeq, EVENTS_PER_BATCH - events.length)) {
      cursor.sampleSeq = seq;
      events.push(event);
    }
    for (const serverId of cursor.behind) {
      if (events.length >= EVENTS_PER_BATCH) break;
      const console = this.#nextChunk(serverId, cursor.positions);
      if (console === undefined) cursor.behind.delete(serverId);
      else events.push({ serverId, atMs: Date.now(), event: { $case: 'console', console } });
    }
    return events.length === 0 ? undefined : this.batchOf(events);
  }

  #firstAfter(seq: number): number {
    const oldest = this.#journal[0]?.seq ?? 0;
    return Math.max(0, seq + 1 - oldest);
  }

  #nextChunk(serverId: string, positions: Map<string, ConsolePosition>): ConsoleChunk | undefined {
    const runs = this.#consoles.get(serverId) ?? [];
    const position = positions.get(serverId);
    const known = runs.findIndex(run => run.runId === position?.runId);
    let offset = known === -1 ? 0 : (position?.offset ?? 0);
    for (const run of runs.slice(Math.max(0, known))) {
      const chunk = chunkFrom(run, offset);
      if (chunk) {
        positions.set(serverId, { runId: run.runId, offset: chunk.nextOffset });
        return chunk;
      }
      offset = 0;
    }
    return undefined;
  }
}

function chunkFrom(run: RunConsole, offset: number): ConsoleChunk | undefined {
  const first = run.lines.findIndex(line => line.offset >= offset);
  const lines: string[] = [];
  let bytes = 0;
  let nextOffset = offset;
  for (const line of first === -1 ? [] : run.lines.slice(first)) {
    bytes += line.nextOffset - line.offset;
    if (bytes > BYTES_PER_CHUNK && lines.length > 0) break;
    lines.push(line.text);
    nextOffset = line.nextOffset;
  }
  const begin = run.lines[first]?.offset;
  if (begin === undefined) return undefined;
  return { runId: run.runId, offset: begin, nextOffset, lines, droppedBytes: begin - offset };
}
