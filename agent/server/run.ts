import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CrashCause } from '#proto/gen/agent.js';
import { isMissing } from '../errors.js';
import {
  isJsonRecord,
  numberOf,
  parseJsonRecord,
  readdirIfThere,
  readTextIfThere,
  syncFolder,
  textOf,
  type JsonRecord,
  writeFileDurably,
} from '../files.js';
import { bootId as thisBoot, bootSeconds } from '../system.js';
import { causeOf } from './crashCause.js';
import type { ProcessIdentity } from './process.js';

/** What ended a run; one that ends without any of these ended by itself. */
export type StopCause = 'stop' | 'kill' | 'lease';

export interface GuardedProcess {
  readonly jvm: ProcessIdentity;
  readonly guard: ProcessIdentity;
}

/**
 * One run of a server: a folder that the guard and its JVM write into, and `run.json`, which only the agent writes.
 * The next agent process learns from it all that this one knew. A folder serves one run, ever.
 */
export class Run {
  readyAtMs = 0;
  stopCause: StopCause | undefined;
  endedAtMs = 0;
  exitCode: number | undefined;
  /** Why it ended; undefined while it goes on, and when somebody wanted it to end. */
  crash: CrashCause | undefined;
  /** Console bytes before this offset are gone for good. */
  droppedBefore = 0;

  private constructor(
    readonly folder: string,
    readonly number: number,
    readonly runId: string,
    readonly epoch: number,
    readonly startedAtMs: number,
    readonly bootId: string,
    readonly startedAtBootSeconds: number,
  ) {}

  static async create(runs: string, number: number, runId: string, epoch: number): Promise<Run> {
    const folder = join(runs, String(number).padStart(8, '0'));
    await mkdir(folder, { recursive: true });
    const run = new Run(folder, number, runId, epoch, Date.now(), thisBoot(), bootSeconds());
    await run.save();
    await syncFolder(runs);
    return run;
  }

  static async load(runs: string, name: string): Promise<Run | undefined> {
    const folder = join(runs, name);
    const record = parseJsonRecord((await readTextIfThere(join(folder, 'run.json'))) ?? '');
    const runId = record && textOf(record, 'run_id');
    if (record === undefined || runId === undefined) return undefined;
    const run = new Run(
      folder,
      Number(name),
      runId,
      numberOf(record, 'epoch') ?? 0,
      numberOf(record, 'started_at_ms') ?? 0,
      textOf(record, 'boot_id') ?? '',
      numberOf(record, 'started_at_boot_seconds') ?? 0,
    );
    run.readyAtMs = numberOf(record, 'ready_at_ms') ?? 0;
    const cause = textOf(record, 'stop_cause');
    if (cause === 'stop' || cause === 'kill' || cause === 'lease') run.stopCause = cause;
    run.endedAtMs = numberOf(record, 'ended_at_ms') ?? 0;
    run.exitCode = numberOf(record, 'exit_code');
    if (run.ended && run.stopCause === undefined) run.crash = decodeCrash(record['crash'], run.exitCode);
    run.droppedBefore = numberOf(record, 'dropped_before') ?? 0;
    return run;
  }

  /** All runs of a server that are still known, oldest first. */
  static async loadAll(runs: string): Promise<Run[]> {
    const names = await readdirIfThere(runs);
    const loaded = await Promise.all(
      names
        .filter(name => /^\d{8}$/.test(name))
        .sort()
        .map(name => Run.load(runs, name)),
    );
    return loaded.filter(run => run !== undefined);
  }

  get consolePath(): string {
    return join(this.folder, 'console.log');
  }

  get fifoPath(): string {
    return join(this.folder, 'stdin');
  }

  get guardLogPath(): string {
    return join(this.folder, 'guard.log');
  }

  get ended(): boolean {
    return this.endedAtMs > 0;
  }

  /** Seconds since the run began, by the kernel's clock; meaningless after a restart of the host. */
  get ageSeconds(): number {
    return bootSeconds() - this.startedAtBootSeconds;
  }

  /** On disk when this resolves: a stop of ours must never look like a crash to the next agent process. */
  async save(): Promise<void> {
    const record = {
      run_id: this.runId,
      epoch: this.epoch,
      started_at_ms: this.startedAtMs,
      boot_id: this.bootId,
      started_at_boot_seconds: this.startedAtBootSeconds,
      ready_at_ms: this.readyAtMs,
      stop_cause: this.stopCause,
      ended_at_ms: this.endedAtMs,
      exit_code: this.exitCode,
      crash: this.crash && encodeCrash(this.crash),
      dropped_before: this.droppedBefore,
    };
    await writeFileDurably(join(this.folder, 'run.json'), JSON.stringify(record));
  }

  /** The guard has begun to end it because its lease is over: a cause of ours, and its name is in the folder. */
  async noteLeaseEnd(): Promise<void> {
    if (this.stopCause !== undefined || !(await this.#endedByLease())) return;
    this.stopCause = 'lease';
    await this.save();
  }

  /**
   * The process is gone. A lease that ended it is a cause of ours, and its name is in the folder; a cause that is not
   * ours is looked for before the end is written down, so that nobody hears of a crash without it.
   */
  async end(exitCode: number | undefined, findCause: () => Promise<CrashCause | undefined>): Promise<void> {
    if (this.stopCause === undefined && (await this.#endedByLease())) this.stopCause = 'lease';
    this.crash = this.stopCause === undefined ? await findCause() : undefined;
    this.exitCode = exitCode;
    this.endedAtMs = Date.now();
    await this.save();
  }

  /** It was taken for ended, and is not. */
  async reopen(): Promise<void> {
    this.exitCode = undefined;
    this.crash = undefined;
    this.endedAtMs = 0;
    await this.save();
  }

  /** What the guard wrote down: undefined until it has started the JVM. */
  async readProcess(): Promise<GuardedProcess | undefined> {
    const text = await readTextIfThere(join(this.folder, 'pid'));
    const match = /^(\d+) (\d+) (\S+) (\d+) (\d+)\n$/.exec(text ?? '');
    if (!match) return undefined;
    const [, pid, ticks, boot, guardPid, guardTicks] = match;
    if (boot === undefined) return undefined;
    return {
      jvm: { pid: Number(pid), startTicks: Number(ticks), bootId: boot },
      guard: { pid: Number(guardPid), startTicks: Number(guardTicks), bootId: boot },
    };
  }

  /** The JVM's exit code, 128 + n for a death by signal n; undefined until the guard has recorded it. */
  async readExit(): Promise<number | undefined> {
    const text = await readTextIfThere(join(this.folder, 'exit'));
    return text !== undefined && /^\d+\n$/.test(text) ? Number(text) : undefined;
  }

  async #endedByLease(): Promise<boolean> {
    return (await readTextIfThere(join(this.folder, 'lease-expired'))) !== undefined;
  }

  async consoleSize(): Promise<number> {
    try {
      return Math.max((await stat(this.consolePath)).size, this.droppedBefore);
    } catch (error) {
      if (isMissing(error)) return this.droppedBefore;
      throw error;
    }
  }
}

function encodeCrash({ code, detail, evidence, reportPath }: CrashCause): JsonRecord {
  return { code, detail, evidence, report_path: reportPath };
}

/** What was found out at its end. Agents before this one wrote none down: then the exit code has to do. */
function decodeCrash(record: unknown, exitCode: number | undefined): CrashCause | undefined {
  if (!isJsonRecord(record)) {
    const finding = causeOf({ exitCode, oomKilled: false, lines: [] });
    return finding && { code: finding.code, detail: finding.detail, evidence: [], reportPath: '' };
  }
  const evidence: unknown = record['evidence'];
  return {
    code: textOf(record, 'code') ?? 'exit-code',
    detail: textOf(record, 'detail') ?? '',
    evidence: Array.isArray(evidence) ? evidence.filter(line => typeof line === 'string') : [],
    reportPath: textOf(record, 'report_path') ?? '',
  };
}
