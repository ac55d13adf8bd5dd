import { EventEmitter } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ProcessState, type ServerState } from '#proto/gen/agent.js';
import { exists } from '../files.js';
import type { Journal } from '../journal.js';
import { type ServerFacts, loadFacts, saveFacts, startFileOf } from './facts.js';
import { startGuard } from './guard.js';
import { LiveRun, NEVER_STARTED } from './liveRun.js';
import type { ServerPaths } from './paths.js';
import type { LockHolder, ProcessIdentity } from './process.js';
import { trimConsoles } from './retention.js';
import { Run, type StopCause } from './run.js';
import { pathOf } from './startFile.js';
import { reasonOf, stateOf } from './state.js';

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

/**
 * One server as its process is. `look()` compares the records with the kernel and writes down what changed; everything
 * else here is the few effects that a step may have on a process. Steps themselves live in work/.
 *
 * Emits `look` after every look (waiters), `console` when a run's file may have grown (tailers).
 */
export class ManagedServer extends EventEmitter<{ look: []; console: [] }> {
  facts: ServerFacts = {};
  /** Oldest first; bounded by retention. */
  #runs: Run[] = [];
  #live: LiveRun | undefined;
  #guardExit: number | undefined;
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
    this.#runs = await Run.loadAll(this.paths.runs);
    const unfinished = this.#runs.findLast(run => !run.ended);
    if (unfinished) this.#live = this.#watch(unfinished);
    await this.look();
    if (this.alive) await this.deps.journal.append(await this.describe(), 'adopted');
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  /** The one that goes on, else the latest. */
  get run(): Run | undefined {
    return this.#live?.run ?? this.#runs.at(-1);
  }

  /** True from the launch of a run until its process is known to be gone. */
  get alive(): boolean {
    return this.#live !== undefined;
  }

  /** Undefined also in the moment between a launch and the guard's note of its JVM. */
  get jvm(): ProcessIdentity | undefined {
    return this.#live?.process?.jvm;
  }

  /** Of the run that goes on, else the highest that was accepted. */
  get epoch(): number {
    return this.#live?.run.epoch ?? this.deps.fenceOf(this.id).epoch;
  }

  get state(): ProcessState {
    return stateOf(this.run);
  }

  async describe(): Promise<ServerState> {
    const { run, jvm, facts } = this;
    const { epoch, opSeq } = this.deps.fenceOf(this.id);
    const startFile = startFileOf(facts);
    return {
      serverId: this.id,
      state: stateOf(run),
      runId: run?.runId ?? '',
      pid: jvm?.pid ?? 0,
      startTicks: jvm?.startTicks ?? 0,
      startedAtMs: run?.startedAtMs ?? 0,
      readyAtMs: run?.readyAtMs ?? 0,
      exitCode: run?.exitCode,
      endedAtMs: run?.endedAtMs ?? 0,
      provisioned: startFile !== undefined && (await exists(join(this.paths.folder, pathOf(startFile)))),
      epoch,
      opSeq,
      consoleOffset: (await run?.consoleSize()) ?? 0,
      cause: this.state === ProcessState.CRASHED ? run?.crash : undefined,
      endCause: run?.stopCause,
    };
  }

  async saveFacts(facts: ServerFacts): Promise<void> {
    await this.replaceFacts({ ...this.facts, ...facts });
  }

  async replaceFacts(facts: ServerFacts): Promise<void> {
    this.facts = facts;
    await saveFacts(this.paths.facts, facts);
  }

  /**
   * Begins a run: its record is on disk before the guard starts, so that whoever comes after us finds either the run or
   * nothing. The kernel lock, not this method, keeps a second copy out. Only for a server that is not alive.
   */
  async launch({ runId, epoch, command, javaHome }: Launch): Promise<Run> {
    await this.trim();
    const number = (this.#runs.at(-1)?.number ?? 0) + 1;
    const run = await Run.create(this.paths.runs, number, runId, epoch);
    const live = this.#watch(run);
    this.#runs.push(run);
    this.#live = live;
    this.#guardExit = undefined;
    const env = {
      ...this.deps.childEnv,
      JAVA_HOME: javaHome,
      AYMC_SERVER_ID: this.id,
      AYMC_EPOCH: String(epoch),
    };
    try {
      const guard = await startGuard({ paths: this.paths, run, command, env }, this.deps.shell);
      live.guard = guard;
      void guard.ended.then(code => {
        live.guardExit = code;
        return this.look();
      });
    } catch (error) {
      await live.endUnseen(NEVER_STARTED);
      throw error;
    } finally {
      await this.look();
    }
    return run;
  }

  /** Why the guard of the latest run ended, where it was our child and has ended. */
  get guardExit(): number | undefined {
    return this.#live?.guardExit ?? this.#guardExit;
  }

  /**
   * Takes over a JVM that holds our lock although the records say that nothing runs: the kernel is right. Answers
   * whether that is so now.
   */
  async adoptHolder({ jvm, guard, output }: LockHolder): Promise<boolean> {
    const run = this.#runs.find(candidate => candidate.consolePath === output);
    if (run === undefined) return false;
    if (run.ended) await run.reopen();
    this.#live?.close();
    this.#live = this.#watch(run);
    this.#live.adopt({ jvm, guard });
    await this.look();
    return this.alive;
  }

  /**
   * Notes, durably and before any effect, that the end of this run is wanted. The first cause stays, but kill wins. A
   * full disk keeps nobody from stopping what may have filled it: then only this process knows why the run ended.
   */
  async intendStop(cause: StopCause): Promise<void> {
    const run = this.#live?.run;
    if (run === undefined || run.stopCause === cause || run.stopCause === 'kill') return;
    run.stopCause = cause;
    try {
      await run.save();
    } catch (error) {
      this.deps.log.warn(
        { err: error, run_id: run.runId, cause },
        'that this run is to end is not written down',
      );
    }
    await this.look();
  }

  /** SIGTERM goes to the JVM, SIGKILL to its whole group. False when nothing is there to signal. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): boolean {
    return this.#live?.signal(signal) ?? false;
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

  /** Bounds the disk space of old consoles. */
  async trim(): Promise<void> {
    const forgotten = await trimConsoles(this.#runs, this.deps.log);
    this.#runs = this.#runs.filter(run => !forgotten.has(run));
  }

  /** Lets go of the server without touching its process. */
  detach(): void {
    this.#live?.close();
  }

  /** After its folders are gone: nothing is written down any more. */
  markDeleted(): void {
    this.#deleted = true;
    this.detach();
  }

  async #look(): Promise<void> {
    if (this.#deleted) return;
    const live = this.#live;
    if (live) {
      try {
        await live.look();
      } finally {
        // Also when the disk is too full to write it down: the process is gone all the same.
        if (live.run.ended) this.#retire(live);
      }
    }
    const { state, run } = this;
    if (state === this.deps.journal.lastStateOf(this.id)) return;
    const reason = reasonOf(state, run);
    await this.deps.journal.append(await this.describe(), reason);
    this.deps.log.info({ server_id: this.id, run_id: run?.runId, state, reason }, 'server changed');
  }

  #retire(live: LiveRun): void {
    live.close();
    this.#guardExit = live.guardExit;
    if (this.#live === live) this.#live = undefined;
    this.emit('console');
  }

  #watch(run: Run): LiveRun {
    return new LiveRun(run, this.paths.folder, this.deps.log, name => {
      this.emit('console');
      if (name !== 'console.log' || run.readyAtMs === 0) void this.look();
    });
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
