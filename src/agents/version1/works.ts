import {
  WorkState,
  type ServerState,
  type WorkKey,
  type WorkProgress,
  type WorkRequest,
  type WorkStatus,
} from '#proto/gen/agent.js';
import { AppError, assertNever } from '#src/domain/errors.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import { hasEnded } from '../workState.js';
import { provisionServer } from './provision.js';
import { startServer } from './start.js';
import { insist, type Step, type StepDeps } from './step.js';
import { findRun, killServer, stopServer } from './stop.js';

/** Of one look or call; waiting for a stop of another server is a part of it. */
const CALL_MS = 60_000;
const TASKS_MAX = 10_000;
/** An agent that stops servers one after the other keeps everybody else waiting for minutes. */
const PATIENCE_MS = 300_000;

interface Task {
  id: string;
  agentId: string;
  serverId: string;
  work: NonNullable<WorkRequest['work']>;
  status: WorkStatus;
  /** Aborted with the reason for which it is to end early. */
  ending: AbortController;
  /** Called at every change of the status. */
  watchers: Set<() => void>;
}

/**
 * Long work, done here in place of agents that know none. What is under way lives in this process alone: after its end
 * the same step is submitted again elsewhere, and finds out by looking at the agent what is left to do.
 */
export class Works {
  /** Oldest first; ended ones leave beyond the bound. */
  readonly #tasks = new Map<string, Task>();
  readonly #closing = new AbortController();

  constructor(
    private readonly deps: StepDeps,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  /** The same key again is answered with what became of the first, as long as this process lives. */
  submit(agent: AgentAddress, request: WorkRequest, requestId: string | undefined): WorkStatus {
    const { key, work, serverId } = request;
    if (!key || !work) throw new AppError('invalid-request', { detail: 'The request has no key or no work' });
    if (this.#closing.signal.aborted) throw new AppError('shutting-down');
    const id = idOf(agent, key);
    const known = this.#tasks.get(id);
    if (known) return known.status;
    this.#makeRoom();
    if (takesOver(work)) this.#supersede(agent.id, serverId);
    const status = { key, state: WorkState.IN_PROGRESS, ...NOTHING_SAID };
    const ending = new AbortController();
    const task = { id, agentId: agent.id, serverId, work, status, ending, watchers: new Set<() => void>() };
    this.#tasks.set(id, task);
    const options = {
      deadlineMs: CALL_MS,
      signal: ending.signal,
      ...(requestId !== undefined && { requestId }),
    };
    void this.#carry(task, {
      agent,
      serverId,
      key,
      options,
      patienceMs: this.patienceMs,
      closing: this.#closing.signal,
      report: progress => this.#change(task, { progress: { ...NO_PROGRESS, ...progress } }),
    });
    return status;
  }

  /** Every change until the terminal one. Rejects with `not-found`. */
  async *watch(agent: AgentAddress, key: WorkKey, options: CallOptions): AsyncGenerator<WorkStatus, void> {
    const task = this.#find(agent, key);
    const limits = [this.#closing.signal, options.signal];
    if (options.deadlineMs !== undefined) limits.push(timeLimit(options.deadlineMs));
    const limit = AbortSignal.any(limits.filter(signal => signal !== undefined));
    let told: WorkStatus | undefined;
    for (;;) {
      const { status } = task;
      if (status !== told) yield status;
      told = status;
      if (hasEnded(status)) return;
      if (task.status === told) await changeOf(task, limit);
      if (limit.aborted) throw this.#whyEnded(options.signal);
    }
  }

  cancel(agent: AgentAddress, key: WorkKey): WorkStatus {
    const task = this.#find(agent, key);
    // A stop is carried through once it is begun.
    if (task.work.$case === 'start' || task.work.$case === 'provision') {
      task.ending.abort(new AppError('cancelled'));
    }
    return task.status;
  }

  close(): void {
    this.#closing.abort(new AppError('shutting-down'));
    for (const { ending } of this.#tasks.values()) ending.abort(new AppError('shutting-down'));
  }

  #find(agent: AgentAddress, key: WorkKey): Task {
    const task = this.#tasks.get(idOf(agent, key));
    if (task) return task;
    throw new AppError('not-found', { detail: 'This process does not know that step' });
  }

  #supersede(agentId: string, serverId: string): void {
    for (const task of this.#tasks.values()) {
      if (task.agentId === agentId && task.serverId === serverId && !hasEnded(task.status)) {
        task.ending.abort(new AppError('superseded'));
      }
    }
  }

  #makeRoom(): void {
    if (this.#tasks.size < TASKS_MAX) return;
    for (const [id, { status }] of this.#tasks) {
      if (!hasEnded(status)) continue;
      this.#tasks.delete(id);
      return;
    }
    throw new AppError('agent-failed', { detail: 'Too much work for agents of version 1 is under way' });
  }

  async #carry(task: Task, step: Step): Promise<void> {
    try {
      const server = await perform(this.deps, step, task.work);
      this.#change(task, { state: WorkState.SUCCEEDED, server });
    } catch (error) {
      this.#change(task, await this.#failure(task, step, error));
    }
  }

  async #failure(task: Task, step: Step, error: unknown): Promise<Partial<WorkStatus>> {
    const reason: unknown = task.ending.signal.reason;
    const early = task.ending.signal.aborted && reason instanceof AppError ? reason : undefined;
    const cause = early ?? (error instanceof AppError ? error : new AppError('internal', { cause: error }));
    const server = await this.#lastLook(step);
    const said = { errorCode: cause.code, errorDetail: cause.detail, server };
    if (early) return { state: WorkState.CANCELLED, ...said };
    if (cause.code === 'outcome-unknown') return { state: WorkState.OUTCOME_UNKNOWN, ...said };
    return { state: WorkState.FAILED, ...said };
  }

  async #lastLook({ agent, options, serverId, closing }: Step): Promise<ServerState | undefined> {
    try {
      const look = { ...options, deadlineMs: 5_000, signal: closing };
      const run = await this.deps.looks.find(agent, serverId, look);
      return await (run
        ? this.deps.states.of(agent, run, look)
        : this.deps.states.ofStopped(agent, serverId, look));
    } catch {
      // The step has failed for another reason, which is told; that it can't be looked at either adds nothing.
      return undefined;
    }
  }

  #change(task: Task, change: Partial<WorkStatus>): void {
    if (hasEnded(task.status)) return;
    task.status = { ...task.status, ...change };
    for (const wake of task.watchers) wake();
  }

  #whyEnded(signal: AbortSignal | undefined): AppError {
    if (this.#closing.signal.aborted) return new AppError('shutting-down');
    return new AppError(signal?.aborted ? 'cancelled' : 'agent-timeout');
  }
}

const NO_PROGRESS: WorkProgress = { phase: '', percent: -1, message: '', bytesDone: 0, bytesTotal: 0 };
const NOTHING_SAID = { progress: undefined, errorCode: '', errorDetail: '', server: undefined };

/** Whether what is under way for the server ends with it. */
function takesOver(work: Task['work']): boolean {
  return work.$case === 'stop' || work.$case === 'delete' || (work.$case === 'kill' && !work.kill.beside);
}

async function perform(deps: StepDeps, step: Step, work: Task['work']): Promise<ServerState | undefined> {
  const { agent, serverId, options } = step;
  switch (work.$case) {
    case 'provision': {
      await provisionServer(deps, step, work.provision);
      const run = await findRun(deps, step);
      return insist(step, () =>
        run ? deps.states.of(agent, run, options) : deps.states.ofStopped(agent, serverId, options),
      );
    }
    case 'start':
      return startServer(deps, step, work.start);
    case 'stop':
      return stopServer(deps, step, work.stop.runId);
    case 'kill':
      return killServer(deps, step);
    case 'delete':
      // They can't delete files: the folder stays on the host.
      return stopServer(deps, step, '');
    case 'installJava':
      throw new AppError('agent-unsupported', { detail: 'Agents of version 1 install no Java by checksum' });
    case 'stage':
    case 'snapshot':
    case 'revert':
    case 'discard':
      throw new AppError('agent-unsupported', { detail: 'Agents of version 1 keep no copy of a server' });
    default:
      return assertNever(work);
  }
}

/** Resolves at the next change, or when the limit is reached. */
function changeOf(task: Task, limit: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const wake = () => {
      task.watchers.delete(wake);
      limit.removeEventListener('abort', wake);
      resolve();
    };
    task.watchers.add(wake);
    limit.addEventListener('abort', wake);
    if (limit.aborted) wake();
  });
}

/** AbortSignal.timeout takes no more than the timers do. */
function timeLimit(ms: number): AbortSignal {
  return AbortSignal.timeout(Math.min(Math.max(0, Math.round(ms)), 2 ** 31 - 1));
}

function idOf(agent: AgentAddress, { opId, step }: WorkKey): string {
  return `${agent.id}/${opId}/${step}`;
}
