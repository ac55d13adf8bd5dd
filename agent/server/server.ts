import { EventEmitter } from 'node:events';
import { watch, type FSWatcher } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ProcessState, type ServerState } from '#proto/gen/agent.js';
import { assertNever } from '../errors.js';
import type { Journal } from '../journal.js';
import { bootId } from '../system.js';
import { readConsole } from './console.js';
import { type Guard, startGuard } from './guard.js';
import type { ServerPaths } from './paths.js';
import { type LockHolder, type ProcessIdentity, isAlive, signalProcess } from './process.js';
import { saysReady } from './readiness.js';
import { type GuardedProcess, Run, type StopCause } from './run.js';
import { trimConsoles } from './retention.js';
import { type ServerFacts, loadFacts, saveFacts } from './facts.js';

export interface ServerDeps {
  readonly journal: Journal;
  readonly log: Logger;
  readonly shell: string;
  readonly childEnv: Readonly<Record<string, string>>;
  /** The highest numbers accepted for a server; the ledger's. */
  readonly fenceOf: (serverId: string) => { epoch: number; opSeq: number };
}

export interface Launch {
  readonly runId: string;
  readonly epoch: number;
  readonly command: readonly string[];
  readonly javaHome: string;
}

/** A guard that dies takes its JVM along; one that has not written the exit code after this long was killed. */
const EXIT_RECORD_GRACE_MS = 3_000;
/** Between the start of the guard and the note of its JVM; a guard that needs longer is not coming. */
const LAUNCH_GRACE_SECONDS = 5;
const SCAN_BYTES = 256 * 1024;

/**
 * One server as its process is. `look()` compares the records with the kernel and writes down what changed; everything
 * else here is the few effects that a step may have on a process. Steps themselves live in work/.
 *
 * Emits `look` after every look (waiters), `console` when a run's file may have grown (tailers).
 */
export class ManagedServer extends EventEmitter<{ look: []; console: [] }> {
  facts: ServerFacts = {};
  /** Oldest first; bounded by retention. The last one is the current or latest run. */
  runs: Run[] = [];

  #process: GuardedProcess | undefined;
  #guard: Guard | undefined;
  #guardExit: number | undefined;
  #scanned = 0;
  #deadSinceMs = 0;
  #watcher: FSWatcher | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain: Promise<void> | undefined;
  #deleted = false;

  constructor(
    readonly id: string,
    readonly paths: ServerPaths,
    private readonly deps: ServerDeps,
  ) {
    super();
    this.setMaxListeners(0);
  }

  /** Reads the records and takes over a run that plays on. Called once, before anyone else sees the server. */
  async adopt(): Promise<void> {
    await mkdir(this.paths.runs, { recursive: true });
    this.facts = await loadFacts(this.paths.facts);
    this.runs = await Run.loadAll(this.paths.runs);
    this.#attach();
    await this.look();
    if (this.alive) await this.deps.journal.append(await this.describe(), 'adopted');
  }

  /** The one that goes on, else the latest. */
  get run(): Run | undefined {
    return this.runs.findLast(run => !run.ended) ?? this.runs.at(-1);
  }

  /** True from the launch of a run until its process is known to be gone. */
  get alive(): boolean {
    const run = this.run;
    return run !== undefined && !run.ended;
  }

  get jvm(): ProcessIdentity | undefined {
    return this.alive ? this.#process?.jvm : undefined;
  }

  get state(): ProcessState {
    return deriveState(this.run);
  }

  get provisioned(): Promise<boolean> {
    const { jarFile } = this.facts;
    return jarFile === undefined ? Promise.resolve(false) : exists(join(this.paths.folder, jarFile));
  }

  async describe(): Promise<ServerState> {
    const run = this.run;
    const fence = this.deps.fenceOf(this.id);
    return {
      serverId: this.id,
      state: this.state,
      runId: run?.runId ?? '',
      pid: this.jvm?.pid ?? 0,
      startTicks: this.jvm?.startTicks ?? 0,
      startedAtMs: run?.startedAtMs ?? 0,
      readyAtMs: run?.readyAtMs ?? 0,
      exitCode: run?.exitCode,
      endedAtMs: run?.endedAtMs ?? 0,
      provisioned: await this.provisioned,
      epoch: fence.epoch,
      opSeq: fence.opSeq,
      consoleOffset: (await run?.consoleSize()) ?? 0,
    };
  }

  async saveFacts(facts: ServerFacts): Promise<void> {
    this.facts = { ...this.facts, ...facts };
    await saveFacts(this.paths.facts, this.facts);
  }

  /**
   * Begins a run: its record is on disk before the guard starts, so that whoever comes after us finds either the run or
   * nothing. The kernel lock, not this method, keeps a second copy out.
   */
  async launch({ runId, epoch, command, javaHome }: Launch): Promise<Run> {
    const number = (this.runs.at(-1)?.number ?? 0) + 1;
    const run = await Run.create(this.paths.runs, number, runId, epoch);
    this.runs.push(run);
    this.runs = await trimConsoles(this.runs, this.deps.log);
    const env = {
      ...this.deps.childEnv,
      JAVA_HOME: javaHome,
      AYMC_SERVER_ID: this.id,
      AYMC_EPOCH: String(epoch),
    };
    this.#attach();
    try {
      const guard = await startGuard({ paths: this.paths, run, command, env }, this.deps.shell);
      this.#guard = guard;
      void guard.ended.then(code => {
        if (this.#guard === guard) this.#guardExit = code;
        return this.look();
      });
    } catch (error) {
      await this.#end(run, undefined);
      throw error;
    }
    await this.look();
    return run;
  }

  /**
   * Takes over a JVM that holds our lock although the records say that nothing runs: the kernel is right. Answers
   * whether that is so now.
   */
  async adoptHolder({ jvm, guard, output }: LockHolder): Promise<boolean> {
    const run = this.runs.find(candidate => candidate.consolePath === output);
    if (run === undefined) return false;
    if (run.ended) {
      run.endedAtMs = 0;
      run.exitCode = undefined;
      await run.save();
    }
    this.#attach();
    this.#process = { jvm, guard };
    await this.look();
    return this.alive;
  }

  /** Why the guard of the latest run ended, where it was our child and has ended. */
  get guardExit(): number | undefined {
    return this.#guardExit;
  }

  /** Notes, durably and before any effect, that the end of this run is wanted. The first cause stays, but kill wins. */
  async intendStop(cause: StopCause): Promise<void> {
    const run = this.run;
    if (run === undefined || run.ended || run.stopCause === cause || run.stopCause === 'kill') return;
    run.stopCause = cause;
    await run.save();
    await this.look();
  }

  /** SIGTERM goes to the JVM, SIGKILL to its whole group. False when nothing is there to signal. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): boolean {
    const jvm = this.jvm;
    if (jvm) return signalProcess(jvm, signal, signal === 'SIGKILL' ? 'group' : 'process');
    // The guard has not started its JVM yet: without a guard there won't be one.
    if (this.alive && this.#guard && signal === 'SIGKILL' && this.#guardExit === undefined) {
      process.kill(this.#guard.pid, 'SIGKILL');
      return true;
    }
    return false;
  }

  /** Looks until the condition holds; false when the time is over first. Throws the signal's reason when aborted. */
  async until(condition: () => boolean, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    await this.look();
    for (;;) {
      signal.throwIfAborted();
      if (condition()) return true;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      // Someone else's look serves as well as ours; two waiters that answered each other's would never rest.
      const someoneLooked = await this.#nextLook(Math.min(left, 250), signal);
      if (!someoneLooked) await this.look();
    }
  }

  /** Compares records and kernel. Calls made during a look share the next one. */
  look(): Promise<void> {
    if (this.#looking) {
      this.#lookAgain ??= this.#looking.then(() => {
        this.#lookAgain = undefined;
        return this.look();
      });
      return this.#lookAgain;
    }
    this.#looking = this.#look()
      .catch((error: unknown) => this.deps.log.error({ err: error, server_id: this.id }, 'look failed'))
      .finally(() => {
        this.#looking = undefined;
        this.emit('look');
      });
    return this.#looking;
  }

  /** Lets go of the server without touching its process. */
  detach(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** After its folders are gone: nothing is written down any more. */
  markDeleted(): void {
    this.#deleted = true;
    this.detach();
  }

  async #look(): Promise<void> {
    if (this.#deleted) return;
    const run = this.run;
    if (run && !run.ended) {
      this.#process ??= await run.readProcess();
      if (this.#process === undefined) await this.#lookForLaunch(run);
      else if (isAlive(this.#process.jvm)) await this.#lookAtPlaying(run, this.#process);
      else await this.#lookForExit(run, this.#process);
    }
    await this.#writeDownChange();
  }

  /** No JVM is noted yet: the guard is about to, or never will. */
  async #lookForLaunch(run: Run): Promise<void> {
    const refused = this.#guardExit !== undefined;
    const lost =
      run.bootId !== bootId() || (this.#guard === undefined && run.ageSeconds > LAUNCH_GRACE_SECONDS);
    if (refused || lost) await this.#end(run, undefined);
  }

  async #lookAtPlaying(run: Run, { jvm, guard }: GuardedProcess): Promise<void> {
    if (run.readyAtMs === 0) await this.#scanForReady(run);
    // The kernel kills the JVM when its guard dies; but a guard that died between fork and prctl left it without that.
    if (!isAlive(guard) && isAlive(jvm)) signalProcess(jvm, 'SIGKILL', 'group');
  }

  async #lookForExit(run: Run, { guard, jvm }: GuardedProcess): Promise<void> {
    const exitCode = await run.readExit();
    if (exitCode !== undefined) {
      // A server may become ready and end between two looks.
      if (run.readyAtMs === 0) await this.#scanForReady(run);
      return this.#end(run, exitCode);
    }
    if (jvm.bootId !== bootId()) return this.#end(run, undefined);
    if (isAlive(guard)) {
      this.#deadSinceMs ||= performance.now();
      if (performance.now() - this.#deadSinceMs < EXIT_RECORD_GRACE_MS) return;
    }
    // The guard was killed, and the kernel killed the JVM for it.
    await this.#end(run, 137);
  }

  async #end(run: Run, exitCode: number | undefined): Promise<void> {
    if (run.stopCause === undefined && (await run.endedByLease())) run.stopCause = 'lease';
    run.exitCode = exitCode;
    run.endedAtMs = Date.now();
    await run.save();
    this.detach();
    this.emit('console');
  }

  async #scanForReady(run: Run): Promise<void> {
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

  async #writeDownChange(): Promise<void> {
    const { state } = this;
    if (state === this.deps.journal.lastStateOf(this.id)) return;
    const reason = reasonOf(state, this.run);
    await this.deps.journal.append(await this.describe(), reason);
    this.deps.log.info({ server_id: this.id, run_id: this.run?.runId, state, reason }, 'server changed');
  }

  /** Makes the latest run the one that is watched. */
  #attach(): void {
    this.detach();
    this.#process = undefined;
    this.#guard = undefined;
    this.#guardExit = undefined;
    this.#deadSinceMs = 0;
    const run = this.run;
    this.#scanned = run?.droppedBefore ?? 0;
    if (run === undefined || run.ended) return;
    try {
      // One inotify watch on the run's folder tells of console output, of the exit code and of the lease's end.
      this.#watcher = watch(run.folder, { persistent: false }, (_event, name) => {
        this.emit('console');
        if (name !== 'console.log' || run.readyAtMs === 0) void this.look();
      });
      this.#watcher.on('error', error =>
        this.deps.log.warn({ err: error, server_id: this.id }, 'watch ended'),
      );
    } catch (error) {
      // Out of inotify watches: the registry's look every second finds the same, later.
      this.deps.log.warn({ err: error, server_id: this.id }, 'cannot watch the run folder; polling');
    }
  }

  /** True when a look ended, false when the time is over or the signal was aborted. */
  #nextLook(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    return new Promise(resolve => {
      const end = (looked: boolean): void => {
        clearTimeout(timer);
        this.off('look', onLook);
        signal.removeEventListener('abort', onAbort);
        resolve(looked);
      };
      const onLook = (): void => end(true);
      const onAbort = (): void => end(false);
      const timer = setTimeout(onAbort, timeoutMs);
      this.on('look', onLook);
      signal.addEventListener('abort', onAbort);
    });
  }
}

function deriveState(run: Run | undefined): ProcessState {
  if (run === undefined) return ProcessState.STOPPED;
  if (!run.ended) {
    if (run.stopCause !== undefined) return ProcessState.STOPPING;
    return run.readyAtMs > 0 ? ProcessState.RUNNING : ProcessState.STARTING;
  }
  return run.stopCause !== undefined || run.exitCode === 0 ? ProcessState.STOPPED : ProcessState.CRASHED;
}

function reasonOf(state: ProcessState, run: Run | undefined): string {
  switch (state) {
    case ProcessState.STARTING:
      return 'start-requested';
    case ProcessState.RUNNING:
      return 'ready';
    case ProcessState.STOPPING:
      return run?.stopCause === 'kill' ? 'kill-requested' : 'stop-requested';
    case ProcessState.STOPPED:
      return endReason(run?.stopCause);
    case ProcessState.CRASHED:
      return 'crash';
    case ProcessState.PROCESS_STATE_UNSPECIFIED:
    case ProcessState.UNRECOGNIZED:
      return '';
    default:
      return assertNever(state);
  }
}

function endReason(cause: StopCause | undefined): string {
  switch (cause) {
    case 'stop':
      return 'stopped';
    case 'kill':
      return 'killed';
    case 'lease':
      return 'lease-expired';
    case undefined:
      return 'exit'; // someone typed `stop` on the console
    default:
      return assertNever(cause);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
