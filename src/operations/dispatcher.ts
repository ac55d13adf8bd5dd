import type { WorkflowClient } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import type { Logger } from 'pino';
import type { Bus } from '#src/bus/bus.js';
import { operationWorkflowId } from '#src/contracts/temporal.js';
import type { Database } from '#src/db/connect.js';
import { claimDeliveries, markDeliveryDispatched } from '#src/db/deliveries.js';
import { claimDispatches, markDispatched, readDispatches, type Dispatch } from '#src/db/outbox.js';
import { startDelivery } from './deliveryDispatch.js';
import { workflowStartOptions, workflowTypeOf } from './workflowStart.js';

export interface DispatcherDeps {
  db: Database;
  /** Resolves to the client, or rejects while Temporal has not been reached yet. */
  temporal: () => Promise<WorkflowClient>;
  bus: Bus;
  logger: Logger;
  /** Whether the client shares its connection with a worker of this process, so that starts can be eager. */
  eager: boolean;
  /** Pause between two looks into the outbox, in ms. */
  pollMs: number;
}

/** Nothing that an API answer or a claim waits for may take longer. */
const RPC_DEADLINE_MS = 2_000;
const BATCH = 100;
const CONCURRENCY = 10;

/**
 * Tells Temporal what the outbox holds. A double send is harmless: a workflow id is used once, and a cancel may be
 * repeated; so a claim is a lease and not a promise, and nobody coordinates.
 */
export class Dispatcher {
  readonly #deps: DispatcherDeps;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #unsubscribe: (() => void) | undefined;
  /** So that an outage of Temporal is one line in the log and not one a second. */
  #failing = false;

  constructor(deps: DispatcherDeps) {
    this.#deps = deps;
  }

  /** Begins to watch the outbox, for rows whose sender died or could not reach Temporal. */
  start(): void {
    this.#unsubscribe = this.#deps.bus.subscribe('dispatch', () => this.#wake());
    this.#wake();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#unsubscribe?.();
    await this.#round;
  }

  /** The fast path, right after a commit. Never rejects: what could not be sent stays in the outbox. */
  async sendNow(operationIds: readonly string[]): Promise<void> {
    if (operationIds.length === 0) return;
    try {
      await this.#sendAll(await readDispatches(this.#deps.db, operationIds));
    } catch (error) {
      this.#deps.logger.warn({ err: error, operations: operationIds }, 'left to the dispatcher');
    }
  }

  #wake(): void {
    if (this.#stopped) return;
    if (this.#round) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#round = this.#drain().finally(() => {
      this.#round = undefined;
      if (this.#stopped) return;
      if (this.#again) {
        this.#again = false;
        this.#wake();
      } else {
        this.#timer = setTimeout(() => this.#wake(), this.#deps.pollMs);
      }
    });
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        const claims = await claimDispatches(this.#deps.db, BATCH);
        const sent = await this.#sendAll(claims);
        if (claims.length < BATCH || sent === 0) break;
      }
      await this.#sendDeliveries();
    } catch (error) {
      this.#deps.logger.warn({ err: error }, 'the outbox could not be read');
    }
  }

  /** A batch a round: mails and webhooks can wait for the next. */
  async #sendDeliveries(): Promise<void> {
    for (const delivery of await claimDeliveries(this.#deps.db, BATCH)) {
      const sent = await this.#tell({ delivery: delivery.id }, async client => {
        await startDelivery(client, delivery);
        await markDeliveryDispatched(this.#deps.db, delivery.id);
      });
      if (!sent) return;
    }
  }

  /** Answers how many went out. */
  async #sendAll(claims: readonly Dispatch[]): Promise<number> {
    let sent = 0;
    for (let at = 0; at < claims.length; at += CONCURRENCY) {
      const results = await Promise.all(claims.slice(at, at + CONCURRENCY).map(claim => this.#send(claim)));
      sent += results.filter(Boolean).length;
    }
    return sent;
  }

  async #send(claim: Dispatch): Promise<boolean> {
    const { db, eager } = this.#deps;
    return this.#tell({ operation: claim.id }, async client => {
      await tell(client, claim, eager);
      await markDispatched(db, claim);
    });
  }

  async #tell(about: object, work: (client: WorkflowClient) => Promise<void>): Promise<boolean> {
    const { logger } = this.#deps;
    try {
      const client = await this.#deps.temporal();
      await client.connection.withDeadline(Date.now() + RPC_DEADLINE_MS, () => work(client));
      if (this.#failing) logger.info('Temporal takes operations again');
      this.#failing = false;
      return true;
    } catch (error) {
      if (!this.#failing) logger.warn({ err: error, ...about }, 'Temporal does not take operations');
      this.#failing = true;
      return false;
    }
  }
}

async function tell(client: WorkflowClient, claim: Dispatch, eager: boolean): Promise<void> {
  if (claim.cancel_requested_at) {
    try {
      await client.getHandle(operationWorkflowId(claim.id)).cancel();
    } catch (error) {
      // Ended meanwhile, or lost: the reconciler closes rows whose workflow is gone.
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
    return;
  }
  try {
    await client.start(workflowTypeOf(claim.kind), workflowStartOptions(claim, eager));
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}
