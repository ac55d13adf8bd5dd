import type { AgentRow } from '#src/db/types.js';
import { reconcileAgent } from './reconcileAgent.js';
import type { ReconcileDeps } from './reconcileDeps.js';

/**
 * Servers of an agent whose process has changed, until they were compared with what we believe. One that an operation
 * works on is its business for now; what happens just before the operation ends would otherwise wait for a round of the
 * reconciler.
 */
export class StateNews {
  // Bounded by the agent's servers: ids that are none of its own leave with the next look.
  readonly #waiting = new Set<string>();

  constructor(
    private readonly deps: ReconcileDeps,
    private readonly agent: AgentRow,
  ) {}

  async add(serverIds: readonly string[]): Promise<void> {
    for (const id of serverIds) this.#waiting.add(id);
    await this.look();
  }

  async look(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const looked = [...this.#waiting];
    this.#waiting.clear();
    const { busy } = await reconcileAgent(this.deps, this.agent, looked);
    for (const id of busy) this.#waiting.add(id);
  }
}
