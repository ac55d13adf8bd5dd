import type { Logger } from 'pino';
import { AgentError, isMissing } from '../errors.js';
import type { ManagedServer } from '../server/server.js';
import { bootId, bootSeconds } from '../system.js';
import type { Work } from '../work/task.js';
import { covers, type Grant, grantOf } from './grant.js';
import { hasLease, removeLease, writeLease } from './leaseFile.js';
import type { LeaseAnswer, ToldServer } from './renewalCall.js';

/**
 * The agent's lease and the lease files of its servers. The files are what counts: guards obey them without us, and the
 * next agent process finds them. Which servers have one is the control plane's word: each start brings it, each renewal
 * repeats it.
 */
export class Leases {
  #grant: Grant | undefined;
  /** What the newest answer said of each server. */
  #told: ReadonlyMap<string, ToldServer> = new Map();
  /** Servers that were given a lease file for their launch, and when; forgotten once an answer is newer. */
  readonly #launchedAt = new Map<string, number>();
  #attempted: () => void = () => undefined;
  readonly #firstAttempt: Promise<void>;

  constructor(
    /** Whether there is a control plane to ask. Without one no leased server is ever started here. */
    readonly canRenew: boolean,
    private readonly log: Logger,
  ) {
    this.#firstAttempt = canRenew
      ? new Promise(resolve => {
          this.#attempted = resolve;
        })
      : Promise.resolve();
  }

  get valid(): boolean {
    return this.#grant !== undefined && covers(this.#grant, bootId(), bootSeconds());
  }

  /** Whether this server, as far as it is known here, lives under the lease. */
  isLeased(server: ManagedServer): Promise<boolean> {
    return hasLease(server.paths.lease);
  }

  /** Throws `no-lease` for a start that would be refused anyway. A server that plays needs no start. */
  admit(work: Work, server: ManagedServer | undefined): void {
    if (work.$case === 'start' && work.start.leased && !server?.alive && !this.valid) throw noLease();
  }

  /**
   * Puts the lease file of a server in place, or away, before its guard starts. `leased` is what the start says, `epoch` its
   * own. Throws `no-lease`. A step that was taken up at boot waits until the lease has been asked for.
   */
  async beforeLaunch(server: ManagedServer, epoch: number, leased: boolean): Promise<void> {
    if (leased && !this.valid) await this.#firstAttempt;
    const told = this.valid ? this.#told.get(server.id) : undefined;
    // A start from before the policy changed may come after the answer that told of it.
    if (!leased && !told?.leased) return removeLease(server.paths.lease);
    if (this.#grant === undefined || !this.valid) throw noLease();
    if (told && told.epoch > epoch) {
      throw new AgentError('no-lease', 'this server was handed on: the start is of an older epoch');
    }
    this.#launchedAt.set(server.id, bootSeconds());
    await writeLease(server.paths.lease, this.#grant);
  }

  /**
   * Takes an answer to the request that was sent at `sentAtSeconds`, and brings all lease files up to date. One answer at a
   * time, in the order of their requests.
   */
  async renewed(
    answer: LeaseAnswer,
    sentAtSeconds: number,
    servers: readonly ManagedServer[],
  ): Promise<void> {
    const grant = grantOf(bootId(), sentAtSeconds, answer.ttlMs);
    this.#grant = grant;
    this.#told = answer.servers;
    for (const [id, at] of this.#launchedAt) if (at < sentAtSeconds) this.#launchedAt.delete(id);
    for (const server of servers) {
      try {
        await this.#bringUpToDate(server, grant);
      } catch (error) {
        // Its lease runs out as if the answer had not come; those of the others don't.
        if (!isMissing(error)) {
          this.log.error({ err: error, server_id: server.id }, 'the lease file could not be written');
        }
      }
    }
  }

  /** An attempt to renew has ended, with or without success. */
  attempted(): void {
    this.#attempted();
  }

  /**
   * A server that the answer does not know, or knows under a newer epoch, is not ours any more: its lease runs out, and
   * stays where it is so that it does.
   */
  async #bringUpToDate(server: ManagedServer, grant: Grant): Promise<void> {
    const told = this.#told.get(server.id);
    if (told === undefined || told.epoch > server.epoch) return;
    if (told.leased) {
      // One that does not run gets its file when it is launched.
      if (server.alive) await writeLease(server.paths.lease, grant);
    } else if (!this.#launchedAt.has(server.id)) {
      await removeLease(server.paths.lease);
    }
  }
}

function noLease(): AgentError {
  return new AgentError('no-lease', 'this agent has no valid lease');
}
