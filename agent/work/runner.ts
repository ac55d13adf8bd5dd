import type { Logger } from 'pino';
import {
  type ServerState,
  type WorkKey,
  type WorkRequest,
  WorkState,
  type WorkStatus,
} from '#proto/gen/agent.js';
import { AgentError, toAgentError } from '../errors.js';
import type { Registry } from '../server/registry.js';
import { type Fence, isOlder, isTerminal, type Ledger, type LedgerEntry, ledgerKey } from './ledger.js';
import { newEntry, validate } from './request.js';
import type { AbortCause, OwnContext, StepContext } from './step.js';
import { isOwnWork, NO_PROGRESS, type OwnWork, type ServerWork, Task, type Work } from './task.js';

/** Does one step; throws AgentError for a failure, the signal's reason when it was aborted. */
export type PerformStep = (work: ServerWork, context: StepContext) => Promise<void>;

/** As PerformStep, for what belongs to no server. */
export type PerformOwn = (work: OwnWork, context: OwnContext) => Promise<void>;

/** Throws AgentError for work that this agent can't take now, and may be able to a moment later. */
export type AdmitWork = (work: Work, serverId: string) => void;

/** Only these can be undone halfway; anything else may be cancelled while it waits for its turn. */
const CANCELLABLE: ReadonlySet<Work['$case']> = new Set([
  'provision',
  'start',
  'installJava',
  'stage',
  'snapshot',
]);

/** While a step waits, its watchers hear from it at least this often: silence means that the agent is gone. */
const HEARTBEAT_MS = 5_000;
const PRUNE_EVERY_MS = 3600_000;

/**
 * Accepts steps, runs them, remembers how they ended. Steps of one server take turns, but a kill gets through at once;
 * steps of different servers run side by side, and the agent's own are as one more server's. The
 * ledger has every step before anything happens.
 */
export class WorkRunner {
  /** Steps under way or waiting; each leaves when it ends. */
  readonly #tasks = new Map<string, Task>();
  /** The end of each server's queue; an entry leaves with its last step. */
  readonly #lanes = new Map<string, Promise<void>>();
  /** Who follows a step; they leave by themselves. */
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #timers: NodeJS.Timeout[];
  #detached = false;

  constructor(
    private readonly deps: {
      ledger: Ledger;
      registry: Registry;
      admit: AdmitWork;
      perform: PerformStep;
      performOwn: PerformOwn;
      log: Logger;
    },
  ) {
    this.#timers = [
      setInterval(() => this.#heartbeat(), HEARTBEAT_MS).unref(),
      setInterval(() => void this.#prune(), PRUNE_EVERY_MS).unref(),
    ];
  }

  /** Takes up what the last agent process left unfinished. Before anyone can submit. */
  async resume(): Promise<void> {
    const { ledger, log } = this.deps;
    for (const entry of ledger.unfinished()) {
      log.info(
        { op_id: entry.opId, step: entry.step, server_id: entry.serverId },
        'taking up an unfinished step',
      );
      const work = entry.request?.work;
      if (work === undefined) {
        const unknown = new AgentError(
          'outcome-unknown',
          'the agent died while it sent this console command',
        );
        await this.#finish(entry, WorkState.OUTCOME_UNKNOWN, unknown);
      } else if (isOlder(entry.fence, ledger.fenceOf(entry.serverId))) {
        await this.#finish(entry, WorkState.FAILED, superseded());
      } else {
        const task = this.#register(entry, work, true);
        if (entry.cancelRequested) task.abort('cancelled');
        this.#enqueue(task);
      }
    }
  }

  /** Accepts a step and answers at once; the same pair again is answered with what became of the first. */
  async submit(request: WorkRequest): Promise<WorkStatus> {
    const { key, work, serverId, fence } = validate(request);
    const { ledger } = this.deps;
    const known = ledger.find(key.opId, key.step);
    if (known) {
      await this.#tasks.get(ledgerKey(key.opId, key.step))?.accepted;
      return this.#statusOf(known);
    }
    if (this.#detached) throw new AgentError('shutting-down', 'the agent shuts down');
    const late = isOlder(fence, ledger.fenceOf(serverId));
    if (late && !request.undo) throw superseded();
    // Not written down when refused: the same pair may be tried again.
    if (!late) this.deps.admit(work, serverId);

    const entry = newEntry(key, serverId, isBeside(work) ? ledger.fenceOf(serverId) : fence, request);
    if (late) {
      await ledger.accept(entry);
      await this.#finish(entry, WorkState.FAILED, superseded());
      return this.#statusOf(entry);
    }
    const task = this.#register(entry, work, false);
    task.accepted = ledger.accept(entry);
    try {
      await task.accepted;
    } catch (error) {
      this.#tasks.delete(ledgerKey(key.opId, key.step));
      this.#notify(entry); // whoever watches it already is told that there is no such step
      throw error;
    }
    this.#supersedeOlder(serverId, entry.fence);
    this.#enqueue(task);
    return this.#statusOf(entry);
  }

  status(key: WorkKey): WorkStatus {
    return this.#statusOf(this.#find(key));
  }

  /** Calls back on every change, the heartbeat included, until the returned function is called. */
  watch(key: WorkKey, onChange: () => void): () => void {
    this.#find(key);
    const id = ledgerKey(key.opId, key.step);
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(onChange));
    return () => {
      watchers.delete(onChange);
      if (watchers.size === 0 && this.#watchers.get(id) === watchers) this.#watchers.delete(id);
    };
  }

  /** Resolves with the terminal state. An abort ends the waiting, not the step. */
  async settled(key: WorkKey, signal: AbortSignal): Promise<WorkStatus> {
    for (;;) {
      const status = this.status(key);
      if (isTerminal(status.state)) return status;
      signal.throwIfAborted();
      await new Promise<void>(resolve => {
        const end = (): void => {
          unwatch();
          signal.removeEventListener('abort', end);
          resolve();
        };
        const unwatch = this.watch(key, end);
        signal.addEventListener('abort', end);
      });
    }
  }

  /** Idempotent. A step that can't be cancelled any more goes on, and its state says so. */
  async cancel(key: WorkKey): Promise<WorkStatus> {
    const entry = this.#find(key);
    const task = this.#tasks.get(ledgerKey(key.opId, key.step));
    if (task && (task.state === WorkState.ACCEPTED || CANCELLABLE.has(task.work.$case))) {
      await this.deps.ledger.requestCancel(entry);
      task.abort('cancelled');
    }
    return this.#statusOf(entry);
  }

  /**
   * Has a short effect at most once for its pair: a console command. Returns at once when it has had it. One that failed
   * has had none and may be tried again; one that an earlier agent process may or may not have had is `outcome-unknown`.
   */
  async once(key: WorkKey, serverId: string, effect: () => Promise<void>): Promise<void> {
    const { ledger } = this.deps;
    const known = ledger.find(key.opId, key.step);
    if (known?.outcome?.state === WorkState.SUCCEEDED) return;
    if (known && known.outcome?.state !== WorkState.FAILED) {
      throw new AgentError('outcome-unknown', 'whether this command was sent cannot be found out');
    }
    const entry = newEntry(key, serverId, ledger.fenceOf(serverId), undefined);
    await ledger.accept(entry);
    try {
      await effect();
    } catch (error) {
      await this.#finish(entry, WorkState.FAILED, toAgentError(error));
      throw error;
    }
    await this.#finish(entry, WorkState.SUCCEEDED, undefined);
  }

  /** Lets go of every step without ending any: the next agent process takes them up. */
  async detach(): Promise<void> {
    this.#detached = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const task of this.#tasks.values()) task.abort('detached');
    await Promise.allSettled(this.#lanes.values());
  }

  #find({ opId, step }: WorkKey): LedgerEntry {
    const entry = this.deps.ledger.find(opId, step);
    if (entry === undefined) throw new AgentError('not-found', 'this agent knows no such step');
    return entry;
  }

  #register(entry: LedgerEntry, work: Work, resumed: boolean): Task {
    const task = new Task(entry, work, resumed);
    this.#tasks.set(ledgerKey(entry.opId, entry.step), task);
    return task;
  }

  /** A newer operation has the server: the steps of older ones end where they are. */
  #supersedeOlder(serverId: string, fence: Fence): void {
    for (const task of this.#tasks.values()) {
      if (task.entry.serverId === serverId && isOlder(task.entry.fence, fence)) task.abort('superseded');
    }
  }

  #enqueue(task: Task): void {
    const { serverId } = task.entry;
    const before = this.#lanes.get(serverId) ?? Promise.resolve();
    // A kill does not wait, but what comes after it waits for both.
    const lane =
      task.work.$case === 'kill'
        ? Promise.all([before, this.#perform(task)]).then(() => undefined)
        : this.#whenItsTurn(before, task).then(() => this.#perform(task));
    this.#lanes.set(serverId, lane);
    void lane.finally(() => {
      if (this.#lanes.get(serverId) === lane) this.#lanes.delete(serverId);
    });
  }

  /** A step that is aborted while it waits need not wait on. */
  #whenItsTurn(before: Promise<void>, task: Task): Promise<void> {
    const { signal } = task;
    const aborted = new Promise<void>(resolve =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    return Promise.race([before, aborted]);
  }

  /** Never rejects. */
  async #perform(task: Task): Promise<void> {
    const { entry, signal } = task;
    const log = this.deps.log.child({ op_id: entry.opId, step: entry.step, server_id: entry.serverId });
    let outcome: { state: WorkState; error?: AgentError } | undefined;
    try {
      // A cancelled step that was taken up again may have effects to undo: only its handler knows.
      const mayHaveEffects = task.resumed && task.abortCause === 'cancelled';
      if (!mayHaveEffects) signal.throwIfAborted();
      task.state = WorkState.IN_PROGRESS;
      this.#notify(entry);
      if (isOwnWork(task.work)) await this.deps.performOwn(task.work, this.#ownContextOf(task));
      else await this.deps.perform(task.work, await this.#contextOf(task));
      outcome = { state: WorkState.SUCCEEDED };
    } catch (error) {
      outcome = outcomeOf(error, task.abortCause);
      if (outcome?.error?.code === 'agent-failed') log.error({ err: error }, 'step broke');
    }
    if (outcome) {
      log.info({ kind: task.work.$case, state: outcome.state, code: outcome.error?.code }, 'step ended');
      await this.#finish(entry, outcome.state, outcome.error);
    }
  }

  /** The server is looked up when it is the step's turn: the step before it may have been a delete. */
  async #contextOf(task: Task): Promise<StepContext> {
    const { entry } = task;
    const { registry } = this.deps;
    const makesServer = task.work.$case === 'provision';
    const server = makesServer ? registry.ensure(entry.serverId) : await registry.find(entry.serverId);
    return {
      ...this.#ownContextOf(task),
      server,
      opId: entry.opId,
      runId: `${entry.opId}/${entry.step}`,
      fence: entry.fence,
      uncancellable: task.uncancellable,
    };
  }

  #ownContextOf(task: Task): OwnContext {
    const { entry } = task;
    return {
      signal: task.signal,
      report: progress => {
        const phaseChanged = progress.phase !== task.progress.phase;
        task.progress = { ...NO_PROGRESS, ...progress };
        if (phaseChanged)
          this.deps.log.debug({ op_id: entry.opId, step: entry.step, phase: progress.phase }, 'step');
        this.#notify(entry);
      },
    };
  }

  async #finish(entry: LedgerEntry, state: WorkState, error: AgentError | undefined): Promise<void> {
    const id = ledgerKey(entry.opId, entry.step);
    const outcome: WorkStatus = {
      key: { opId: entry.opId, step: entry.step },
      state,
      progress: this.#tasks.get(id)?.progress,
      errorCode: error?.code ?? '',
      errorDetail: error?.detail ?? '',
      server: entry.serverId === '' ? undefined : await this.#describe(entry.serverId),
    };
    try {
      await this.deps.ledger.finish(entry, outcome);
    } catch (err) {
      // Answered all the same: after a crash the step is settled by looking, which comes to the same end.
      this.deps.log.error(
        { err, op_id: entry.opId, step: entry.step },
        'the outcome could not be written down',
      );
      entry.outcome = outcome;
    }
    this.#tasks.delete(id);
    this.#notify(entry);
  }

  async #describe(serverId: string): Promise<ServerState> {
    return (await this.deps.registry.find(serverId)).describe();
  }

  #statusOf(entry: LedgerEntry): WorkStatus {
    if (entry.outcome) return entry.outcome;
    const task = this.#tasks.get(ledgerKey(entry.opId, entry.step));
    return {
      key: { opId: entry.opId, step: entry.step },
      state: task?.state ?? WorkState.ACCEPTED,
      progress: task?.progress ?? NO_PROGRESS,
      errorCode: '',
      errorDetail: '',
      server: undefined,
    };
  }

  #notify(entry: LedgerEntry): void {
    const watchers = this.#watchers.get(ledgerKey(entry.opId, entry.step));
    if (watchers) for (const onChange of watchers) onChange();
  }

  #heartbeat(): void {
    for (const task of this.#tasks.values()) this.#notify(task.entry);
  }

  async #prune(): Promise<void> {
    try {
      await this.deps.ledger.prune();
    } catch (error) {
      this.deps.log.warn({ err: error }, 'the ledger could not be pruned');
    }
  }
}

/** A kill in the middle of an operation that goes on: it ends the process, and nobody's turn. */
function isBeside(work: Work): boolean {
  return work.$case === 'kill' && work.kill.beside;
}

function superseded(): AgentError {
  return new AgentError('superseded', 'a newer operation of this server was accepted');
}

/** Undefined for a detached step: it has no outcome yet. */
function outcomeOf(
  error: unknown,
  cause: AbortCause | undefined,
): { state: WorkState; error: AgentError } | undefined {
  if (cause === 'detached') return undefined;
  if (cause === 'superseded') return { state: WorkState.FAILED, error: superseded() };
  const named = toAgentError(error);
  // A cancelled start that could not be ended is no cancelled start.
  if (cause === 'cancelled' && named.code !== 'stop-failed') {
    return { state: WorkState.CANCELLED, error: new AgentError('cancelled', 'the step was cancelled') };
  }
  return { state: WorkState.FAILED, error: named };
}
