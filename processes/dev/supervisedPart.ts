import { setTimeout as sleep } from 'node:timers/promises';
import { describeExit, type Service } from './service.js';
import type { Say } from './tools.js';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A part that ran this long was well; its next death starts with a short pause again. */
const STABLE_AFTER_MS = 60_000;

interface Deps<S extends Service> {
  readonly name: string;
  /** Starts it and waits until it is ready; `previous` tells the ports that others know it by. Must honour `signal`. */
  readonly start: (signal: AbortSignal, previous: S | undefined) => Promise<S>;
  readonly say: Say;
  /** The part came up or went down. */
  readonly changed: () => void;
}

/** A part of `npm start` that is started again whenever it dies, until it is told to stop. */
export class SupervisedPart<S extends Service = Service> {
  /** The running service; undefined while it is down. */
  current: S | undefined;
  private previous: S | undefined;
  private starting: Promise<S> | undefined;
  private keeping: Promise<void> | undefined;
  private readonly stopped = new AbortController();
  /** What a planned restart does in place of a pause. */
  private restartWanted = false;

  constructor(private readonly deps: Deps<S>) {}

  /** The first start. Its failure is the caller's; every later one is met with another try. */
  async begin(): Promise<S> {
    const service = await this.startOnce();
    this.keeping = this.keep(service);
    return service;
  }

  /** Begins in the background with another try, for a part whose first start failed but that others can do without. */
  keepTrying(reason: string): void {
    this.keeping = this.revive(reason, FIRST_PAUSE_MS).then(service => service && this.keep(service));
  }

  /** Asks it to end and starts it again at once, not counting as a death. */
  restart(signal: NodeJS.Signals): void {
    if (!this.current) return;
    this.restartWanted = true;
    process.kill(this.current.pid, signal);
  }

  /** Idempotent; also ends a start that is under way. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await this.starting?.catch(() => undefined);
    await this.current?.stop();
    await this.keeping;
  }

  kill(): void {
    this.stopped.abort();
    this.current?.kill();
  }

  private async startOnce(): Promise<S> {
    this.starting = this.deps.start(this.stopped.signal, this.previous);
    const service = await this.starting;
    this.current = this.previous = service;
    this.deps.changed();
    return service;
  }

  private async keep(first: S): Promise<void> {
    const { signal } = this.stopped;
    let pauseMs = FIRST_PAUSE_MS;
    for (let service: S | undefined = first; service && !signal.aborted;) {
      const since = performance.now();
      const exit = await service.exited;
      this.current = undefined;
      this.deps.changed();
      if (signal.aborted) return;
      if (performance.now() - since > STABLE_AFTER_MS) pauseMs = FIRST_PAUSE_MS;
      service = await this.revive(`${this.deps.name} ended (${describeExit(exit)})`, pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Tries until it runs again; undefined once it is no longer wanted. */
  private async revive(reason: string, firstPauseMs: number): Promise<S | undefined> {
    const { name, say } = this.deps;
    const { signal } = this.stopped;
    let what = reason;
    const planned = this.restartWanted;
    this.restartWanted = false;
    let pauseMs = planned ? 0 : firstPauseMs;
    while (!signal.aborted) {
      if (!planned || pauseMs > 0) say(`${what}; starting it again in ${pauseMs / 1000} s`);
      try {
        await sleep(pauseMs, undefined, { signal });
        const service = await this.startOnce();
        say(`${name} runs again (pid ${service.pid})`);
        return service;
      } catch (error) {
        what = error instanceof Error ? error.message : String(error);
        pauseMs = Math.min(Math.max(pauseMs * 2, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
      }
    }
    return undefined;
  }
}
