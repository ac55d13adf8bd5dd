import type { Logger } from 'pino';
import type { HostSample } from '#proto/gen/agent.js';
import type { Registry } from '../server/registry.js';
import type { ManagedServer } from '../server/server.js';
import { CpuMeter, diskUse, memoryTotalBytes, memoryUsedBytes, networkBytes } from '../system.js';
import type { ConsoleProbes } from './consoleProbes.js';
import { ProcessTable } from './processTable.js';
import type { SampleRing } from './sampleRing.js';
import { ServerWatch, type WatchDeps } from './serverWatch.js';
import { Turns } from './turns.js';

export interface SamplerDeps {
  readonly registry: Registry;
  readonly probes: ConsoleProbes;
  readonly samples: SampleRing;
  readonly log: Logger;
}

export interface SamplerSettings {
  readonly workDir: string;
  /** Where programs are looked for. */
  readonly path: string;
  readonly sampleIntervalMs: number;
  /** 0 = consoles are not asked. */
  readonly tpsIntervalMs: number;
}

const PINGS_AT_ONCE = 8;

/**
 * Takes the samples. What processes use is read from the kernel for each sample; answers of servers come when they come,
 * and a sample carries what is known by then.
 */
export class Sampler {
  readonly #cpu = new CpuMeter();
  readonly #abort = new AbortController();
  readonly #watchDeps: WatchDeps;
  /** One a server, gone with it. */
  readonly #watches = new Map<string, ServerWatch>();
  readonly #onConsole = ({ id }: ManagedServer): void => this.#watches.get(id)?.hearConsole();
  #timer: NodeJS.Timeout | undefined;
  #taking = false;

  constructor(
    private readonly deps: SamplerDeps,
    private readonly settings: SamplerSettings,
  ) {
    this.#watchDeps = {
      probes: deps.probes,
      pings: new Turns(PINGS_AT_ONCE),
      walks: new Turns(1),
      tpsIntervalMs: settings.tpsIntervalMs,
      path: settings.path,
      signal: this.#abort.signal,
      log: deps.log,
    };
  }

  start(): void {
    this.#timer = setInterval(() => void this.#tick(), this.settings.sampleIntervalMs).unref();
    this.deps.registry.on('console', this.#onConsole);
  }

  close(): void {
    clearInterval(this.#timer);
    this.deps.registry.off('console', this.#onConsole);
    this.#abort.abort();
  }

  /** A sample that takes longer than the interval makes the next ones late, not more. */
  async #tick(): Promise<void> {
    if (this.#taking) return;
    this.#taking = true;
    try {
      await this.#take();
    } catch (error) {
      this.deps.log.error({ err: error }, 'no sample could be taken');
    } finally {
      this.#taking = false;
    }
  }

  async #take(): Promise<void> {
    const playing = this.#watchAlive().flatMap(watch => {
      const { run, jvm } = watch.server;
      return run && jvm ? [{ watch, run, jvm }] : [];
    });
    for (const { watch, run } of playing) watch.askAround(run);
    const host = await this.#lookAtHost();
    const processes = await ProcessTable.read(playing.map(({ jvm }) => jvm));
    const atMs = performance.now();
    const servers = playing.flatMap(({ watch, run, jvm }) => {
      const use = processes.useOf(jvm);
      return use ? [watch.sample(run, use, atMs)] : [];
    });
    this.deps.samples.append(host, servers);
  }

  #watchAlive(): ServerWatch[] {
    const { registry } = this.deps;
    for (const [id, { server }] of this.#watches) if (registry.get(id) !== server) this.#watches.delete(id);
    const alive = registry.all().filter(server => server.alive);
    for (const server of alive) {
      if (!this.#watches.has(server.id))
        this.#watches.set(server.id, new ServerWatch(server, this.#watchDeps));
    }
    return alive.flatMap(({ id }) => this.#watches.get(id) ?? []);
  }

  async #lookAtHost(): Promise<HostSample> {
    const [memoryUsed, disk, network] = await Promise.all([
      memoryUsedBytes(),
      diskUse(this.settings.workDir),
      networkBytes(),
    ]);
    return {
      cpuPercent: this.#cpu.percent(),
      memoryTotalBytes: memoryTotalBytes(),
      memoryUsedBytes: memoryUsed,
      diskTotalBytes: disk.totalBytes,
      diskUsedBytes: disk.usedBytes,
      networkSentBytes: network.sent,
      networkReceivedBytes: network.received,
    };
  }
}
