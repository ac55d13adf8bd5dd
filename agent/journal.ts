import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { rename } from 'node:fs/promises';
import { ProcessState, ServerState } from '#proto/gen/agent.js';
import { AppendLog } from './appendLog.js';
import { isJsonRecord, numberOf, textOf, type JsonRecord } from './files.js';

export interface JournalEntry {
  readonly seq: number;
  readonly atMs: number;
  readonly previous: ProcessState;
  readonly state: ServerState;
  readonly reason: string;
}

const noop = (): void => undefined;

/** Entries kept, in memory and (up to twice as many) on disk. A caller further behind resyncs by InspectServers. */
const KEPT = 4096;

/**
 * Every state change of every server, numbered without holes. The numbers go on across restarts of the agent; when the
 * file is lost or unreadable, a new journal with a new id begins.
 */
export class Journal {
  readonly #appended = new EventEmitter().setMaxListeners(0);
  readonly #entries: JournalEntry[] = [];
  /** The last known state of each server, also of those whose entries have been dropped. One entry a server. */
  readonly #last = new Map<string, ProcessState>();
  #nextSeq = 1;
  #tail: Promise<void> = Promise.resolve();

  private constructor(
    readonly id: string,
    private readonly log: AppendLog,
  ) {}

  static async open(path: string): Promise<Journal> {
    const { log, records } = await AppendLog.open(path);
    const [header, ...rest] = records;
    const id = header && textOf(header, 'journal_id');
    if (header === undefined || id === undefined) {
      if (log.size > 0) await rename(path, `${path}.unreadable`);
      await log.close();
      const fresh = await AppendLog.open(path);
      const journal = new Journal(randomUUID(), fresh.log);
      await fresh.log.append(journal.#header());
      return journal;
    }
    const journal = new Journal(id, log);
    journal.#nextSeq = numberOf(header, 'next_seq') ?? 1;
    const last = header['last'];
    if (isJsonRecord(last)) {
      for (const [serverId, state] of Object.entries(last)) journal.#last.set(serverId, stateNamed(state));
    }
    for (const entry of rest.map(decodeEntry)) if (entry) journal.#remember(entry);
    return journal;
  }

  get lastSeq(): number {
    return this.#nextSeq - 1;
  }

  lastStateOf(serverId: string): ProcessState {
    return this.#last.get(serverId) ?? ProcessState.STOPPED;
  }

  /**
   * On disk when this resolves, and only then visible to readers: a number once seen never names another change. One at
   * a time, so that a failed write leaves no hole.
   */
  append(state: ServerState, reason: string): Promise<void> {
    const appended = this.#tail.then(() => this.#appendNext(state, reason));
    this.#tail = appended.then(noop, noop); // the caller has the error
    return appended;
  }

  /** Drops what is known of servers that are no more. Their entries stay until they age out. */
  retain(isKnown: (serverId: string) => boolean): void {
    for (const serverId of this.#last.keys()) if (!isKnown(serverId)) this.#last.delete(serverId);
  }

  /** At most `limit` entries after `seq`, oldest first. */
  after(seq: number, limit: number): JournalEntry[] {
    const first = this.#entries[0];
    if (first === undefined) return [];
    const from = Math.max(0, seq + 1 - first.seq);
    return this.#entries.slice(from, from + limit);
  }

  onAppend(listener: () => void): () => void {
    this.#appended.on('entry', listener);
    return () => this.#appended.off('entry', listener);
  }

  close(): Promise<void> {
    return this.log.close();
  }

  async #appendNext(state: ServerState, reason: string): Promise<void> {
    const previous = this.lastStateOf(state.serverId);
    const entry = { seq: this.#nextSeq, atMs: Date.now(), previous, state, reason };
    await this.log.append(encodeEntry(entry));
    this.#remember(entry);
    this.#appended.emit('entry');
    if (this.log.size > 2 * KEPT)
      await this.log.rewrite(() => [this.#header(), ...this.#entries.map(encodeEntry)]);
  }

  #remember(entry: JournalEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#entries.shift();
    this.#last.set(entry.state.serverId, entry.state.state);
    this.#nextSeq = entry.seq + 1;
  }

  #header(): JsonRecord {
    return { journal_id: this.id, next_seq: this.#nextSeq, last: Object.fromEntries(this.#last) };
  }
}

function encodeEntry(entry: JournalEntry): JsonRecord {
  return {
    seq: entry.seq,
    at: entry.atMs,
    previous: entry.previous,
    reason: entry.reason,
    state: Buffer.from(ServerState.encode(entry.state).finish()).toString('base64'),
  };
}

function decodeEntry(record: JsonRecord): JournalEntry | undefined {
  const seq = numberOf(record, 'seq');
  const state = textOf(record, 'state');
  if (seq === undefined || state === undefined) return undefined;
  return {
    seq,
    atMs: numberOf(record, 'at') ?? 0,
    previous: stateNamed(record['previous']),
    reason: textOf(record, 'reason') ?? '',
    state: ServerState.decode(Buffer.from(state, 'base64')),
  };
}

function stateNamed(name: unknown): ProcessState {
  return Object.values(ProcessState).find(state => state === name) ?? ProcessState.STOPPED;
}
