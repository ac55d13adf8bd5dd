import { setTimeout as pause } from 'node:timers/promises';
import type { AgentEvent, ConsolePosition, EventBatch, StreamEventsRequest } from '#proto/gen/agent.js';
import type { Logger } from 'pino';
import type { Journal, JournalEntry } from '../journal.js';
import { endOfWholeLines, readConsole } from '../server/console.js';
import type { Registry } from '../server/registry.js';
import { releaseConsole } from '../server/retention.js';
import type { Run } from '../server/run.js';
import type { ManagedServer } from '../server/server.js';
import type { Out } from './handlers.js';

export interface EventDeps {
  readonly registry: Registry;
  readonly journal: Journal;
  readonly incarnation: string;
  readonly log: Logger;
}

const BATCH_BYTES = 256 * 1024;
/** What one server gets into a batch: a flood waits for its next turn, the others are not behind all of it. */
const TURN_BYTES = 32 * 1024;
const BATCH_STATES = 500;
/** A batch goes out at once, and the next one not before this: single lines are quick, floods come in lumps. */
const BATCH_EVERY_MS = 50;

/** Where one reader is in one server's console. */
interface Cursor {
  run: Run | undefined;
  offset: number;
  /** Bytes that the reader can't have any more, not yet told. */
  dropped: number;
}

/**
 * Sends everything after the caller's positions, then what happens, until the caller hangs up. The files are the
 * buffer: nothing is read before the caller has taken what was read last, so that a slow one costs no memory. The first
 * batch comes at once, empty if need be, and names the journal.
 */
export async function streamEvents(
  deps: EventDeps,
  request: StreamEventsRequest,
  out: Out<EventBatch>,
  signal: AbortSignal,
): Promise<void> {
  const reader = new EventReader(deps, request.journalId === deps.journal.id ? request.afterSeq : 0);
  try {
    await reader.seek(request.console);
    await out.write(batchOf(deps, []));
    while (!signal.aborted) {
      const { events, more } = await reader.next();
      if (events.length === 0) {
        await reader.somethingNew(signal);
        continue;
      }
      await out.write(batchOf(deps, events));
      if (!more) await pause(BATCH_EVERY_MS, undefined, { ref: false });
    }
  } finally {
    reader.close();
  }
}

function batchOf({ journal, incarnation }: EventDeps, events: AgentEvent[]): EventBatch {
  const now = new Date();
  const utcOffsetMinutes = -now.getTimezoneOffset();
  return { journalId: journal.id, events, sentAtMs: now.getTime(), incarnation, utcOffsetMinutes };
}

/** One reader's positions in the journal and in the consoles of all servers, or of one. */
export class EventReader {
  readonly #cursors = new Map<string, Cursor>();
  /** Servers whose console may have more than we have read. */
  readonly #dirty = new Set<string>();
  readonly #unsubscribe: () => void;
  #wake: () => void = () => undefined;

  constructor(
    private readonly deps: Pick<EventDeps, 'registry' | 'journal' | 'log'>,
    private seq: number,
    private readonly only?: string,
  ) {
    const onConsole = (server: ManagedServer): void => {
      if (only !== undefined && server.id !== only) return;
      this.#dirty.add(server.id);
      this.#wake();
    };
    deps.registry.on('console', onConsole);
    const offJournal = deps.journal.onAppend(() => this.#wake());
    this.#unsubscribe = () => {
      deps.registry.off('console', onConsole);
      offJournal();
    };
  }

  async seek(positions: Readonly<Record<string, ConsolePosition>>): Promise<void> {
    for (const server of this.deps.registry.all()) {
      if (this.only !== undefined && server.id !== this.only) continue;
      const position = positions[server.id];
      this.#cursors.set(
        server.id,
        position ? await this.#cursorAt(server, position) : await cursorAtEnd(server),
      );
      this.#dirty.add(server.id);
    }
  }

  /**
   * State changes up to now, and before them console lines up to now: one turn of each server that has some, as far as
   * the batch holds them. `more`: there was too much for this batch.
   */
  async next(): Promise<{ events: AgentEvent[]; more: boolean }> {
    const states = this.deps.journal.after(this.seq, BATCH_STATES);
    const events: AgentEvent[] = [];
    let bytes = 0;
    let more = states.length === BATCH_STATES;
    const turns = [...this.#dirty];
    for (const id of turns) {
      more ||= bytes >= BATCH_BYTES;
      if (bytes >= BATCH_BYTES) break;
      // Out first and in again at the end: servers take turns, and no news is lost while we read.
      this.#dirty.delete(id);
      const chunk = await this.#nextChunk(id, TURN_BYTES);
      if (chunk === undefined) continue;
      events.push(chunk.event);
      bytes += chunk.bytes;
      more ||= chunk.bytes > TURN_BYTES / 2;
      this.#dirty.add(id);
    }
    for (const entry of states) {
      events.push(stateEvent(entry));
      this.seq = entry.seq;
    }
    return { events, more };
  }

  async somethingNew(signal: AbortSignal): Promise<void> {
    if (this.#dirty.size > 0 || this.deps.journal.lastSeq > this.seq) return;
    await new Promise<void>(resolve => {
      const end = (): void => {
        this.#wake = () => undefined;
        signal.removeEventListener('abort', end);
        resolve();
      };
      this.#wake = end;
      signal.addEventListener('abort', end);
    });
  }

  close(): void {
    this.#unsubscribe();
  }

  async #nextChunk(id: string, maxBytes: number): Promise<{ event: AgentEvent; bytes: number } | undefined> {
    const server = this.deps.registry.get(id);
    if (server === undefined) {
      this.#cursors.delete(id);
      return undefined;
    }
    // A server that came after us is read from its first line.
    const cursor = this.#cursors.get(id) ?? { run: undefined, offset: 0, dropped: 0 };
    this.#cursors.set(id, cursor);
    for (;;) {
      cursor.run ??= server.runs[0];
      const { run } = cursor;
      if (run === undefined) return undefined;
      if (cursor.offset < run.droppedBefore) {
        cursor.dropped += run.droppedBefore - cursor.offset;
        cursor.offset = run.droppedBefore;
      }
      const { ended } = run; // before the read: what a run writes, it has written when it is known to have ended
      const { lines, offset, nextOffset } = await readConsole(run.consolePath, {
        offset: cursor.offset,
        maxBytes,
        ended,
      });
      if (run.droppedBefore > offset) continue; // a hole was punched under our feet
      if (nextOffset > offset || cursor.dropped > 0) {
        const console = { runId: run.runId, offset, nextOffset, lines, droppedBytes: cursor.dropped };
        cursor.offset = nextOffset;
        cursor.dropped = 0;
        const event: AgentEvent = { serverId: id, atMs: Date.now(), event: { $case: 'console', console } };
        return { event, bytes: nextOffset - offset };
      }
      const following = ended ? server.runs.find(later => later.number > run.number) : undefined;
      if (following === undefined) return undefined;
      cursor.run = following;
      cursor.offset = 0;
    }
  }

  async #cursorAt(server: ManagedServer, { runId, offset }: ConsolePosition): Promise<Cursor> {
    const run = server.runs.find(candidate => candidate.runId === runId);
    if (run === undefined) {
      // Named but unknown: the run is too old to be remembered, and how much it printed too. An empty id asks for all.
      return { run: undefined, offset: 0, dropped: runId === '' ? 0 : 1 };
    }
    await releaseConsole(run, offset, this.deps.log);
    return { run, offset: Math.min(offset, await run.consoleSize()), dropped: 0 };
  }
}

async function cursorAtEnd(server: ManagedServer): Promise<Cursor> {
  const run = server.runs.at(-1);
  if (run === undefined) return { run, offset: 0, dropped: 0 };
  const size = await run.consoleSize();
  return { run, offset: run.ended ? size : await endOfWholeLines(run.consolePath, size), dropped: 0 };
}

function stateEvent({ seq, atMs, previous, state, reason }: JournalEntry): AgentEvent {
  return {
    serverId: state.serverId,
    atMs,
    event: { $case: 'state', state: { seq, previous, state, reason } },
  };
}
