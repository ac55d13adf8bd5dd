import type { Logger } from 'pino';
import type { ServerSample } from '#proto/gen/agent.js';
import type { Run } from '../server/run.js';
import type { ManagedServer } from '../server/server.js';
import type { ConsoleProbe } from './consoleProbe.js';
import type { ConsoleProbes } from './consoleProbes.js';
import { folderSize } from './folderSize.js';
import { PingWatch } from './pingWatch.js';
import type { TreeUse } from './processTable.js';
import { tpsQuestion } from './tpsQuestion.js';
import type { Turns } from './turns.js';

export interface WatchDeps {
  readonly probes: ConsoleProbes;
  /** Pings take turns over all servers, and so do walks through folders. */
  readonly pings: Turns;
  readonly walks: Turns;
  /** 0 = never asked. */
  readonly tpsIntervalMs: number;
  /** Where programs are looked for. */
  readonly path: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

const WALK_EVERY_MS = 5 * 60_000;

/** What is known of one run between its samples. */
interface WatchedRun {
  readonly run: Run;
  readonly ping: PingWatch;
  readonly probe: ConsoleProbe | undefined;
  /** At the last sample. */
  cpu: { readonly seconds: number; readonly atMs: number } | undefined;
}

type Question = 'ping' | 'tps' | 'walk';

/** Asks one server what its processes do not tell, and puts its samples together. */
export class ServerWatch {
  #watched: WatchedRun | undefined;
  #diskUsedBytes: number | undefined;
  #walkedAtMs = -Infinity;
  /** What is under way: one of each kind. */
  readonly #asking = new Set<Question>();

  constructor(
    readonly server: ManagedServer,
    private readonly deps: WatchDeps,
  ) {}

  /** Begins to ask what is due, and waits for none of it. For a server that is alive, before each of its samples. */
  askAround(run: Run): void {
    const { probes, pings, walks, tpsIntervalMs } = this.deps;
    const { ping, probe } = this.#follow(run);
    if (performance.now() - this.#walkedAtMs >= WALK_EVERY_MS)
      this.#ask('walk', () => walks.take(() => this.#walk()));
    if (!isServing(run)) return;
    this.#ask('ping', () => pings.take(() => ping.ping()));
    if (probe && probes.hasListener && probe.isDue(tpsIntervalMs / 1000)) this.#ask('tps', () => probe.ask());
  }

  /** The console has news: an answer may be among it. */
  hearConsole(): void {
    this.#watched?.probe?.scan().catch((error: unknown) => this.#warn(error, 'answer'));
  }

  sample(run: Run, { cpuSeconds, memoryBytes }: TreeUse, atMs: number): ServerSample {
    const watched = this.#follow(run);
    const { cpu, ping, probe } = watched;
    watched.cpu = { seconds: cpuSeconds, atMs };
    return {
      serverId: this.server.id,
      runId: run.runId,
      cpuPercent: cpu && cpuPercent(cpuSeconds - cpu.seconds, atMs - cpu.atMs),
      memoryUsedBytes: memoryBytes,
      uptimeSeconds: Math.max(0, Math.floor(run.ageSeconds)),
      playersOnline: ping.playersOnline,
      tps: probe?.tps,
      diskUsedBytes: this.#diskUsedBytes,
      unresponsiveSeconds: isServing(run) ? longest(ping.silentSeconds, probe?.silentSeconds) : undefined,
    };
  }

  #follow(run: Run): WatchedRun {
    if (this.#watched?.run === run) return this.#watched;
    const { probes, tpsIntervalMs } = this.deps;
    const question = tpsIntervalMs > 0 ? tpsQuestion(this.server.facts.type) : undefined;
    this.#watched = {
      run,
      ping: new PingWatch(this.server.paths.folder),
      probe: question && probes.begin(run, question),
      cpu: undefined,
    };
    return this.#watched;
  }

  async #walk(): Promise<void> {
    const { path, signal } = this.deps;
    this.#diskUsedBytes = await folderSize(this.server.paths.folder, path, signal);
    this.#walkedAtMs = performance.now();
  }

  #ask(question: Question, ask: () => Promise<void>): void {
    if (this.#asking.has(question)) return;
    this.#asking.add(question);
    ask()
      .catch((error: unknown) => this.#warn(error, question))
      .finally(() => this.#asking.delete(question));
  }

  #warn(error: unknown, question: Question | 'answer'): void {
    this.deps.log.warn({ err: error, server_id: this.server.id, question }, 'samples lack something');
  }
}

/** Ready, and meant to go on: only such a server is expected to answer. */
function isServing(run: Run): boolean {
  return run.readyAtMs > 0 && run.stopCause === undefined && !run.ended;
}

/** Processes that vanished while they were read take their time along until their parent has it. */
function cpuPercent(seconds: number, ms: number): number | undefined {
  return ms > 0 ? Math.round((Math.max(0, seconds) * 1_000_000) / ms) / 10 : undefined;
}

/** It answers when everything that can be asked does: pings come from other threads than the world's. */
function longest(ping: number | undefined, console: number | undefined): number | undefined {
  if (ping === undefined && console === undefined) return undefined;
  return Math.ceil(Math.max(ping ?? 0, console ?? 0));
}
