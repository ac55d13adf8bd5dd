import { type FSWatcher, watch } from 'node:fs';
import type { Logger } from 'pino';
import { bootId } from '../system.js';
import { readConsole } from './console.js';
import type { Guard } from './guard.js';
import { OomWatch } from './oomWatch.js';
import { findCause } from './postMortem.js';
import { isAlive, signalProcess } from './process.js';
import { saysReady } from './readiness.js';
import type { GuardedProcess, Run } from './run.js';

/** A guard that dies takes its JVM along; one that has not written the exit code after this long was killed. */
const EXIT_RECORD_GRACE_MS = 3_000;
/** Between the start of the guard and the note of its JVM; a guard that needs longer is not coming. */
const LAUNCH_GRACE_SECONDS = 5;
const SCAN_BYTES = 256 * 1024;

/** Why nobody saw a run end. */
export const NEVER_STARTED = 'its guard did not start it';
const HOST_WENT_DOWN = 'its host went down';
const GUARD_KILLED = 'its guard was killed, and the kernel killed it for that';

/**
 * The run that goes on, with all that is known of it only while it does. One object a run, never reused: what one run's
 * process did can't be taken for the next one's.
 */
export class LiveRun {
  guard: Guard | undefined;
  guardExit: number | undefined;
  #process: GuardedProcess | undefined;
  #scanned: number;
  #deadSinceMs = 0;
  #watcher: FSWatcher | undefined;
  readonly #oom = new OomWatch();

  /** `onNews` is called for everything that happens in the run's folder, with the file's name. */
  constructor(
    readonly run: Run,
    /** The server's own. */
    private readonly folder: string,
    private readonly log: Logger,
    onNews: (name: string | null) => void,
  ) {
    this.#scanned = run.droppedBefore;
    try {
      // One inotify watch tells of console output, of the exit code and of the lease's end.
      this.#watcher = watch(run.folder, { persistent: false }, (_event, name) => onNews(name));
      this.#watcher.on('error', error => log.warn({ err: error, run_id: run.runId }, 'the watch ended'));
    } catch (error) {
      // Out of inotify watches: the registry's look every second finds the same, later.
      log.warn({ err: error, run_id: run.runId }, 'cannot watch the run folder; polling');
    }
  }

  get process(): GuardedProcess | undefined {
    return this.#process;
  }

  /** Takes what the kernel says for what the guard should have written. */
  adopt(process: GuardedProcess): void {
    this.#process = process;
  }

  /** Compares the record with the kernel and writes down what changed; afterwards `run.ended` may be true. */
  async look(): Promise<void> {
    this.#process ??= await this.run.readProcess();
    if (this.#process === undefined) await this.#lookForLaunch();
    else if (isAlive(this.#process.jvm)) await this.#lookAtPlaying(this.#process);
    else await this.#lookForExit(this.#process);
  }

  /** SIGTERM goes to the JVM, SIGKILL to its whole group. False when nothing is there to signal. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): boolean {
    if (this.#process) {
      return signalProcess(this.#process.jvm, signal, signal === 'SIGKILL' ? 'group' : 'process');
    }
    // The guard has not started its JVM yet: without a guard there won't be one.
    return signal === 'SIGKILL' && this.guard !== undefined && this.guard.kill();
  }

  /** It is gone, and nothing tells how. */
  endUnseen(unseen: string, exitCode?: number): Promise<void> {
    const { run, folder, log } = this;
    const ending = { exitCode, unseen, oomKilled: false };
    return run.end(exitCode, () => findCause(run, folder, ending, log));
  }

  close(): void {
    this.#watcher?.close();
  }

  /** No JVM is noted yet: the guard is about to, or never will. */
  async #lookForLaunch(): Promise<void> {
    const refused = this.guardExit !== undefined;
    const lost = this.guard === undefined && this.run.ageSeconds > LAUNCH_GRACE_SECONDS;
    if (refused || lost) await this.endUnseen(NEVER_STARTED);
    else if (this.run.bootId !== bootId()) await this.endUnseen(HOST_WENT_DOWN);
  }

  async #lookAtPlaying({ jvm, guard }: GuardedProcess): Promise<void> {
    this.#oom.look();
    if (this.run.readyAtMs === 0) await this.#scanForReady();
    await this.run.noteLeaseEnd();
    // The kernel kills the JVM when its guard dies; but a guard that died between fork and prctl left it without that.
    if (!isAlive(guard)) signalProcess(jvm, 'SIGKILL', 'group');
  }

  async #lookForExit({ guard, jvm }: GuardedProcess): Promise<void> {
    const exitCode = await this.run.readExit();
    if (exitCode !== undefined) return this.#end(exitCode);
    if (jvm.bootId !== bootId()) return this.endUnseen(HOST_WENT_DOWN);
    this.#deadSinceMs ||= performance.now();
    const mayStillWrite = isAlive(guard) && performance.now() - this.#deadSinceMs < EXIT_RECORD_GRACE_MS;
    if (mayStillWrite) return undefined;
    // The guard wrote and ended between our two questions, or it was killed, and the kernel killed the JVM for it.
    const late = await this.run.readExit();
    return late === undefined ? this.endUnseen(GUARD_KILLED, 137) : this.#end(late);
  }

  async #end(exitCode: number): Promise<void> {
    const { run, folder, log } = this;
    // A server may become ready and end between two looks.
    if (run.readyAtMs === 0) await this.#scanForReady();
    // A host that goes down ends everything by signals: nobody's will about this server.
    const unseen = run.bootId !== bootId() && exitCode > 128 ? HOST_WENT_DOWN : undefined;
    const ending = { exitCode, unseen, oomKilled: this.#oom.hasKilled() };
    return run.end(exitCode, () => findCause(run, folder, ending, log));
  }

  async #scanForReady(): Promise<void> {
    const { run } = this;
    for (;;) {
      const range = { offset: this.#scanned, maxBytes: SCAN_BYTES, ended: false };
      const { lines, offset, nextOffset } = await readConsole(run.consolePath, range);
      if (nextOffset === offset) return;
      this.#scanned = nextOffset;
      if (lines.some(saysReady)) {
        run.readyAtMs = Date.now();
        await run.save();
        return;
      }
    }
  }
}
