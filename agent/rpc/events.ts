import { setTimeout as pause } from 'node:timers/promises';
import type { AgentEvent, ConsolePosition, EventBatch, StreamEventsRequest } from '#proto/gen/agent.js';
import type { Logger } from 'pino';
import type { Journal, JournalEntry } from '../journal.js';
import type { ConsoleProbes } from '../sampling/consoleProbes.js';
import type { KeptSample, SampleRing } from '../sampling/sampleRing.js';
import { endOfWholeLines, readConsole } from '../server/console.js';
import type { Registry } from '../server/registry.js';
import { releaseConsole } from '../server/retention.js';
import type { Run } from '../server/run.js';
import type { ManagedServer } from '../server/server.js';
import type { Out } from './handlers.js';

export interface EventDeps {
  readonly registry: Registry;
  readonly journal: Journal;
  readonly samples: SampleRing;
  readonly probes: ConsoleProbes;
  readonly incarnation: string;
  readonly log: Logger;
}

const BATCH_BYTES = 256 * 1024;
/** What one server gets into a batch: a flood waits for its next turn, the others are not behind all of it. */
const TURN_BYTES = 32 * 1024;
/** Of a crash with all its evidence: 30 KiB each. */
const BATCH_STATES = 100;
/** Of one server each; some 100 bytes. */
const BATCH_SERVER_SAMPLES = 1_000;
/** A batch goes out at once, and the next one not before this: single lines are quick, floods come in lumps. */
const BATCH_EVERY_MS = 50;

/** The last state change and the last sample that a reader has. */
interface SeenSeqs {
  state: number;
  sample: number;
}

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
  const { journal, incarnation, probes } = deps;
  const { journalId, afterSeq, samples } = request;
  const reader = new EventReader(deps, {
    state: journalId === journal.id ? afterSeq : 0,
    sample: samples?.incarnation === incarnation ? samples.seq : 0,
  });
  const leave = probes.listen();
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
    leave();
    reader.close();
  }
}

function batchOf({ journal, incarnation }: EventDeps, events: AgentEvent[]): EventBatch {
  const now = new Date();
  const utcOffsetMinutes = -now.getTimezoneOffset();
  return { journalId: journal.id, events, sentAtMs: now.getTime(), incarnation, utcOffsetMinutes };
}

/** One reader's positions in the journal, in the samples, and in the consoles of all servers or of one. */
export class EventReader {
  readonly #cursors = new Map<string, Cursor>();
  /** Servers whose console may have more than we have read. */
  readonly #dirty = new Set<string>();
  readonly #unsubscribe: () => void;
  #wake: () => void = () => undefined;

  constructor(
    private readonly deps: Omit<EventDeps, 'incarnation'>,
    private readonly seen: SeenSeqs,
    private readonly only?: string,
  ) {
    const onConsole = (server: ManagedServer): void => {
      if (only !== undefined && server.id !== only) return;
      this.#dirty.add(server.id);
      this.#wake();
    };
    deps.registry.on('console', onConsole);
    const offJournal = deps.journal.onAppend(() => this.#wake());
    const offSamples = deps.samples.onAppend(() => this.#wake());
    this.#unsubscribe = () => {
      deps.registry.off('console', onConsole);
      offJournal();
      offSamples();
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
   * Samples and state changes up to now, and before them console lines up to now: one turn of each server that has some,
   * as far as the batch holds them. `more`: there was too much for this batch.
   */
  async next(): Promise<{ events: AgentEvent[]; more: boolean }> {
    const states = this.deps.journal.after(this.seen.state, BATCH_STATES);
    const samples = this.deps.samples.after(this.seen.sample, BATCH_SERVER_SAMPLES);
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
      this.seen.state = entry.seq;
    }
    for (const kept of samples) {
      events.push(sampleEvent(kept));
      this.seen.sample = kept.sample.seq;
    }
    return { events, more };
  }

  async somethingNew(signal: AbortSignal): Promise<void> {
    const { journal, samples } = this.deps;
    if (this.#dirty.size > 0) return;
    if (journal.lastSeq > this.seen.state || samples.lastSeq > this.seen.sample) return;
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
      const piece = await readConsole(run.consolePath, { offset: cursor.offset, maxBytes, ended });
      const { offset, nextOffset } = piece;
      if (run.droppedBefore > offset) continue; // a hole was punched under our feet
      if (nextOffset > offset || cursor.dropped > 0) {
        const lines = await this.deps.probes.withoutAnswers(run, piece);
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

function sampleEvent({ atMs, sample }: KeptSample): AgentEvent {
  return { serverId: '', atMs, event: { $case: 'sample', sample } };
}

function stateEvent({ seq, atMs, previous, state, reason }: JournalEntry): AgentEvent {
  return {
    serverId: state.serverId,
    atMs,
    event: { $case: 'state', state: { seq, previous, state, reason } },
  };
}
