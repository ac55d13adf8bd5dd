import { WorkState, type WorkKey, type WorkRequest, type WorkStatus } from '#proto/gen/agent.js';
import { ERRORS, type ErrorCode } from '#src/domain/errors.js';
import { Fault } from './fault.js';
import type { Script, WorkKind } from './script.js';
import type { FakeServers } from './servers.js';
import type { Timers } from './timers.js';

const ENTRIES_KEPT = 50_000;
const TERMINAL = new Set([
  WorkState.SUCCEEDED,
  WorkState.FAILED,
  WorkState.CANCELLED,
  WorkState.OUTCOME_UNKNOWN,
]);

const CANCELLABLE: ReadonlySet<WorkKind> = new Set([
  'start',
  'provision',
  'installJava',
  'stage',
  'snapshot',
]);

interface Entry {
  readonly request: WorkRequest;
  readonly kind: WorkKind;
  status: WorkStatus;
  readonly watchers: Set<(status: WorkStatus) => void>;
  /** Calls off what the work waits for. */
  callOff: () => void;
}

export interface LedgerDeps {
  servers: FakeServers;
  script: Script;
  timers: Timers;
  /** A start of a server that was never provisioned fails as `not-installed`. */
  requireProvision: boolean;
}

/**
 * Work by `(op_id, step)`, once each. One piece of work a server at a time, in the order it came, but: stop, kill and
 * delete end a start that is under way, and kill waits for nothing.
 */
export class Ledger {
  readonly #entries = new Map<string, Entry>();
  /** What runs or waits, per server; the first one runs. Empty lists are removed. */
  readonly #lines = new Map<string, Entry[]>();
  /** Highest `(epoch, op_seq)` per server; outlives the server's record. */
  readonly #fences = new Map<string, { epoch: number; opSeq: number }>();

  constructor(private readonly deps: LedgerDeps) {}

  /** What was accepted last. */
  get newest(): WorkRequest | undefined {
    return [...this.#entries.values()].at(-1)?.request;
  }

  submit(request: WorkRequest): WorkStatus {
    const { key, work, serverId } = request;
    if (!key?.opId || !key.step || work === undefined || !(serverId || work.$case === 'installJava'))
      throw new Fault('invalid-request');
    const known = this.#entries.get(nameOf(key));
    if (known) return known.status;

    const isOld = this.#isBehindFence(request);
    if (isOld && !request.undo) throw new Fault('superseded');
    if (!isOld) this.#failAsScripted(work.$case, serverId);

    const entry: Entry = {
      request,
      kind: work.$case,
      status: {
        key,
        state: WorkState.ACCEPTED,
        progress: undefined,
        errorCode: '',
        errorDetail: '',
        server: undefined,
      },
      watchers: new Set(),
      callOff: () => undefined,
    };
    this.#remember(key, entry);
    if (isOld) {
      this.#end(entry, WorkState.CANCELLED, 'superseded');
    } else {
      if (!(work.$case === 'kill' && work.kill.beside)) this.#raiseFence(request);
      this.#enqueue(entry);
    }
    return entry.status;
  }

  /** Present state first, then every change. Answers how to stop watching. */
  watch(key: WorkKey, onStatus: (status: WorkStatus) => void): () => void {
    const entry = this.#find(key);
    onStatus(entry.status);
    if (isTerminal(entry.status)) return () => undefined;
    entry.watchers.add(onStatus);
    return () => entry.watchers.delete(onStatus);
  }

  cancel(key: WorkKey): WorkStatus {
    const entry = this.#find(key);
    const waits = entry.status.state === WorkState.ACCEPTED;
    const canEnd = waits || CANCELLABLE.has(entry.kind);
    if (!canEnd || isTerminal(entry.status)) return entry.status;
    if (entry.kind === 'start' && !waits) this.deps.servers.exit(entry.request.serverId, 143);
    this.#end(entry, WorkState.CANCELLED, 'cancelled');
    return entry.status;
  }

  /** The process of a server ended by itself: a start under way has failed, a stop has got what it wanted. */
  processEnded(serverId: string): void {
    const running = this.#lines.get(serverId)?.[0];
    if (running?.kind === 'start') this.#end(running, WorkState.FAILED, 'start-failed');
    if (running?.kind === 'stop') this.#end(running, WorkState.SUCCEEDED);
  }

  /** As on an empty disk. */
  forget(): void {
    this.#entries.clear();
    this.#lines.clear();
    this.#fences.clear();
  }

  #enqueue(entry: Entry): void {
    if (this.#sparesRun(entry)) return this.#end(entry, WorkState.SUCCEEDED);
    const { serverId, opSeq } = entry.request;
    const line = this.#lines.get(serverId) ?? [];
    this.#lines.set(serverId, line);
    line.push(entry);
    const [running] = line;
    const endsStarts = entry.kind === 'stop' || entry.kind === 'kill' || entry.kind === 'delete';
    if (endsStarts && running?.kind === 'start') {
      // Its process stays for the newcomer to end.
      const isNewer = opSeq > running.request.opSeq;
      this.#end(running, WorkState.CANCELLED, isNewer ? 'superseded' : 'cancelled');
    }
    const mayRun = line[0] === entry || entry.kind === 'kill';
    if (mayRun && entry.status.state === WorkState.ACCEPTED) this.#run(entry);
  }

  #run(entry: Entry): void {
    const { servers, script } = this.deps;
    const { serverId } = entry.request;
    const { afterMs, endsWith } = script.work(entry.kind, serverId);
    this.#update(entry, { state: WorkState.IN_PROGRESS });
    const finish = () => this.#end(entry, endsWith ? WorkState.FAILED : WorkState.SUCCEEDED, endsWith);
    switch (entry.kind) {
      case 'provision':
        this.#tell(entry, 'download');
        return this.#later(entry, afterMs, () => {
          if (!endsWith) servers.provision(serverId);
          finish();
        });
      case 'start':
        return this.#start(entry, afterMs, endsWith);
      case 'stop':
        return this.#stop(entry, afterMs, endsWith);
      case 'kill':
        return this.#later(entry, afterMs, () => {
          if (servers.isAlive(serverId)) servers.kill(serverId);
          this.processEnded(serverId);
          finish();
        });
      case 'installJava':
        this.#tell(entry, 'java');
        return this.#later(entry, afterMs, finish);
      case 'stage':
      case 'discard':
        return this.#later(entry, afterMs, finish);
      case 'snapshot':
      case 'revert':
        if (servers.isAlive(serverId)) return this.#end(entry, WorkState.FAILED, 'server-running');
        return this.#later(entry, afterMs, finish);
      case 'delete':
        return this.#later(entry, afterMs, () => {
          if (servers.isAlive(serverId)) servers.exit(serverId);
          if (!endsWith) servers.delete(serverId);
          finish();
        });
    }
  }

  #start(entry: Entry, afterMs: number, endsWith: ErrorCode | undefined): void {
    const { servers, timers, requireProvision } = this.deps;
    const { serverId, key, work } = entry.request;
    if (servers.isAlive(serverId)) return this.#end(entry, WorkState.SUCCEEDED);
    if (requireProvision && !servers.of(serverId).provisioned) {
      return this.#end(entry, WorkState.FAILED, 'not-installed');
    }
    servers.boot(serverId, key ? nameOf(key) : '');
    this.#tell(entry, 'boot');
    this.#later(entry, afterMs, () => {
      if (endsWith) {
        servers.crash(serverId, 1);
        this.#end(entry, WorkState.FAILED, endsWith);
      } else {
        servers.becomeReady(serverId);
        this.#end(entry, WorkState.SUCCEEDED);
      }
    });
    const limitS = work?.$case === 'start' ? work.start.readyTimeoutSeconds : 0;
    if (limitS === 0 || isTerminal(entry.status)) return;
    const callOffBoot = entry.callOff;
    const callOffLimit = timers.after(limitS * 1000, () => {
      servers.exit(serverId, 143);
      this.#end(entry, WorkState.FAILED, 'start-timeout');
    });
    entry.callOff = () => {
      callOffBoot();
      callOffLimit();
    };
  }

  #stop(entry: Entry, afterMs: number, endsWith: ErrorCode | undefined): void {
    const { servers } = this.deps;
    const { serverId } = entry.request;
    if (!servers.isAlive(serverId)) return this.#end(entry, WorkState.SUCCEEDED);
    servers.beginStop(serverId);
    this.#tell(entry, 'console');
    this.#later(entry, afterMs, () => {
      if (endsWith) {
        servers.surviveStop(serverId);
        this.#end(entry, WorkState.FAILED, endsWith);
      } else {
        servers.exit(serverId);
        this.#end(entry, WorkState.SUCCEEDED);
      }
    });
  }

  /** A stop meant for another run than the present one leaves this one alone. */
  #sparesRun({ request: { work, serverId } }: Entry): boolean {
    if (work?.$case !== 'stop' || work.stop.runId === '') return false;
    return work.stop.runId !== this.deps.servers.of(serverId).runId;
  }

  #end(entry: Entry, state: WorkState, code?: ErrorCode): void {
    if (isTerminal(entry.status)) return;
    entry.callOff();
    const { serverId } = entry.request;
    this.#update(entry, {
      state,
      progress: undefined,
      errorCode: code ?? '',
      errorDetail: code === undefined ? '' : ERRORS[code].title,
      server: serverId === '' ? undefined : this.deps.servers.snapshot(serverId),
    });
    entry.watchers.clear();
    this.#leaveLine(entry);
  }

  #leaveLine(entry: Entry): void {
    const { serverId } = entry.request;
    const line = this.#lines.get(serverId);
    if (line === undefined) return;
    const place = line.indexOf(entry);
    if (place !== -1) line.splice(place, 1);
    const [next] = line;
    if (next === undefined) this.#lines.delete(serverId);
    else if (place === 0 && next.status.state === WorkState.ACCEPTED) this.#run(next);
  }

  #later(entry: Entry, afterMs: number, work: () => void): void {
    entry.callOff = this.deps.timers.after(afterMs, work);
  }

  #tell(entry: Entry, phase: string): void {
    this.#update(entry, { progress: { phase, percent: -1, message: '', bytesDone: 0, bytesTotal: 0 } });
  }

  #update(entry: Entry, change: Partial<WorkStatus>): void {
    entry.status = { ...entry.status, ...change };
    for (const watcher of entry.watchers) watcher(entry.status);
  }

  #failAsScripted(kind: WorkKind, serverId: string): void {
    const line = this.deps.script.work(kind, serverId);
    if (line.failTimes <= 0) return;
    line.failTimes -= 1;
    throw new Fault(line.code);
  }

  #isBehindFence({ serverId, epoch, opSeq }: WorkRequest): boolean {
    const fence = this.#fences.get(serverId);
    if (fence === undefined) return false;
    return epoch < fence.epoch || (epoch === fence.epoch && opSeq < fence.opSeq);
  }

  #raiseFence({ serverId, epoch, opSeq }: WorkRequest): void {
    if (serverId === '') return; // the agent's own work
    this.#fences.set(serverId, { epoch, opSeq });
    Object.assign(this.deps.servers.of(serverId), { epoch, opSeq });
  }

  #remember(key: WorkKey, entry: Entry): void {
    this.#entries.set(nameOf(key), entry);
    if (this.#entries.size <= ENTRIES_KEPT) return;
    for (const [name, { status }] of this.#entries) {
      if (!isTerminal(status)) continue;
      this.#entries.delete(name);
      return;
    }
  }

  #find(key: WorkKey): Entry {
    const entry = this.#entries.get(nameOf(key));
    if (entry === undefined) throw new Fault('not-found', 'No such work');
    return entry;
  }
}

/** Also the id of the run that a start makes. */
function nameOf({ opId, step }: WorkKey): string {
  return `${opId}/${step}`;
}

function isTerminal({ state }: WorkStatus): boolean {
  return TERMINAL.has(state);
}
