import { WorkRequest, WorkState, WorkStatus } from '#proto/gen/agent.js';
import { AppendLog } from '../appendLog.js';
import { numberOf, textOf, type JsonRecord } from '../files.js';

/** Position of an operation among those of its server; epochs first. */
export interface Fence {
  readonly epoch: number;
  readonly opSeq: number;
}

export function isOlder(a: Fence, b: Fence): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.opSeq < b.opSeq);
}

export interface LedgerEntry {
  readonly opId: string;
  readonly step: string;
  readonly serverId: string;
  readonly fence: Fence;
  readonly acceptedAtMs: number;
  /** Undefined for a console command, which can't be taken up again. Dropped when the step has ended. */
  request: WorkRequest | undefined;
  cancelRequested: boolean;
  /** Set once, in a terminal state; the answer to everyone who asks again. */
  outcome: WorkStatus | undefined;
}

const KEPT_MS = 8 * 24 * 3600 * 1000;
/** Dead lines tolerated before the file is written anew. */
const SLACK = 2_000;

export function ledgerKey(opId: string, step: string): string {
  return `${opId}\0${step}`;
}

/**
 * What was asked of this agent and what became of it, by `(op_id, step)`, and the highest numbers seen for each server.
 * Everything is on disk before it takes effect and before it is answered. Entries are kept for at least seven days
 * after their end, then pruned; that, and one fence a server, bounds the table.
 */
export class Ledger {
  readonly #entries = new Map<string, LedgerEntry>();
  readonly #fences = new Map<string, Fence>();

  private constructor(private readonly log: AppendLog) {}

  static async open(path: string): Promise<Ledger> {
    const { log, records } = await AppendLog.open(path);
    const ledger = new Ledger(log);
    for (const record of records) ledger.#replay(record);
    await ledger.prune();
    return ledger;
  }

  find(opId: string, step: string): LedgerEntry | undefined {
    return this.#entries.get(ledgerKey(opId, step));
  }

  fenceOf(serverId: string): Fence {
    return this.#fences.get(serverId) ?? { epoch: 0, opSeq: 0 };
  }

  /** Entries without an outcome, in the order in which they were accepted. */
  unfinished(): LedgerEntry[] {
    return [...this.#entries.values()].filter(entry => entry.outcome === undefined);
  }

  /**
   * The entry and its fence take effect in memory at once, so that a competing submit sees them, and are on disk when
   * this resolves. When the disk refuses, the entry is taken back and the error thrown.
   */
  async accept(entry: LedgerEntry): Promise<void> {
    const key = ledgerKey(entry.opId, entry.step);
    this.#entries.set(key, entry);
    this.#raise(entry.serverId, entry.fence);
    try {
      await this.log.append(encodeAccepted(entry));
    } catch (error) {
      this.#entries.delete(key);
      throw error;
    }
  }

  async requestCancel(entry: LedgerEntry): Promise<void> {
    if (entry.cancelRequested) return;
    entry.cancelRequested = true;
    await this.log.append({ t: 'cancel', op: entry.opId, step: entry.step });
  }

  async finish(entry: LedgerEntry, outcome: WorkStatus): Promise<void> {
    await this.log.append(encodeOutcome(entry, outcome));
    entry.outcome = outcome;
    entry.request = undefined;
  }

  /** Forgets what ended long ago, and rewrites the file when that or the past made it much too long. */
  async prune(nowMs = Date.now()): Promise<void> {
    for (const [key, entry] of this.#entries) {
      if (entry.outcome !== undefined && nowMs - entry.acceptedAtMs > KEPT_MS) this.#entries.delete(key);
    }
    if (this.log.size > 3 * this.#entries.size + this.#fences.size + SLACK) {
      await this.log.rewrite(() => this.#allRecords());
    }
  }

  close(): Promise<void> {
    return this.log.close();
  }

  #raise(serverId: string, fence: Fence): void {
    if (isOlder(this.fenceOf(serverId), fence)) this.#fences.set(serverId, fence);
  }

  #allRecords(): JsonRecord[] {
    const records: JsonRecord[] = [];
    for (const [server, { epoch, opSeq }] of this.#fences)
      records.push({ t: 'fence', server, epoch, seq: opSeq });
    for (const entry of this.#entries.values()) {
      records.push(encodeAccepted(entry));
      if (entry.cancelRequested) records.push({ t: 'cancel', op: entry.opId, step: entry.step });
      if (entry.outcome) records.push(encodeOutcome(entry, entry.outcome));
    }
    return records;
  }

  #replay(record: JsonRecord): void {
    const serverId = textOf(record, 'server') ?? '';
    const fence = { epoch: numberOf(record, 'epoch') ?? 0, opSeq: numberOf(record, 'seq') ?? 0 };
    const opId = textOf(record, 'op') ?? '';
    const step = textOf(record, 'step') ?? '';
    const entry = this.find(opId, step);
    switch (record['t']) {
      case 'fence':
        this.#raise(serverId, fence);
        return;
      case 'work': {
        const request = textOf(record, 'request');
        this.#raise(serverId, fence);
        this.#entries.set(ledgerKey(opId, step), {
          opId,
          step,
          serverId,
          fence,
          acceptedAtMs: numberOf(record, 'at') ?? 0,
          request: request === undefined ? undefined : WorkRequest.decode(Buffer.from(request, 'base64')),
          cancelRequested: false,
          outcome: undefined,
        });
        return;
      }
      case 'cancel':
        if (entry) entry.cancelRequested = true;
        return;
      case 'done': {
        const outcome = textOf(record, 'outcome');
        if (entry === undefined || outcome === undefined) return;
        entry.outcome = WorkStatus.decode(Buffer.from(outcome, 'base64'));
        entry.request = undefined;
        return;
      }
      default:
        return; // a later version's record
    }
  }
}

function encodeAccepted(entry: LedgerEntry): JsonRecord {
  return {
    t: 'work',
    op: entry.opId,
    step: entry.step,
    server: entry.serverId,
    epoch: entry.fence.epoch,
    seq: entry.fence.opSeq,
    at: entry.acceptedAtMs,
    ...(entry.request && {
      request: Buffer.from(WorkRequest.encode(entry.request).finish()).toString('base64'),
    }),
  };
}

function encodeOutcome(entry: LedgerEntry, outcome: WorkStatus): JsonRecord {
  return {
    t: 'done',
    op: entry.opId,
    step: entry.step,
    outcome: Buffer.from(WorkStatus.encode(outcome).finish()).toString('base64'),
  };
}

export function isTerminal(state: WorkState): boolean {
  return (
    state === WorkState.SUCCEEDED ||
    state === WorkState.FAILED ||
    state === WorkState.CANCELLED ||
    state === WorkState.OUTCOME_UNKNOWN
  );
}
