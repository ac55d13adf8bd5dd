import { Context } from '@temporalio/activity';
import type { ReconcileActivities } from '#src/contracts/activities.js';
import { listAgents, listCarried } from '#src/db/reconciliation.js';
import { forEachOf } from './forEachOf.js';
import { closeIfLost, reportOrphans } from './lostOperations.js';
import { reconcileAgent } from './reconcileAgent.js';
import type { ReconcileDeps } from './reconcileDeps.js';
import { acceptDueRestarts } from './restarts.js';

/** A workflow that was just told to start has this long to appear. */
const YOUNG_MS = 15_000;
const AGENTS_AT_ONCE = 20;

export interface ReconcileActivitiesDeps extends ReconcileDeps {
  /** Sees to it that there are links for so many agents. */
  ensureLinks: (agents: number) => Promise<void>;
}

export function createReconcileActivities(deps: ReconcileActivitiesDeps): ReconcileActivities {
  return {
    async closeLostOperations() {
      let closed = 0;
      for (const op of await listCarried(deps.db, YOUNG_MS)) {
        Context.current().heartbeat();
        if (await closeIfLost(deps, op)) closed += 1;
      }
      return { closed, orphans: await countOrphans(deps) };
    },

    async reconcileAgents() {
      const agents = await listAgents(deps.db);
      await deps.ensureLinks(agents.length);
      let accepted = 0;
      let strangers = 0;
      await forEachOf(agents, AGENTS_AT_ONCE, async agent => {
        const found = await reconcileAgent(deps, agent);
        accepted += found.accepted;
        strangers += found.strangers;
        Context.current().heartbeat();
      });
      accepted += await acceptDueRestarts(deps);
      return { agents: agents.length, accepted, strangers };
    },
  };
}

/** An alarm that fails keeps nobody from being reconciled. */
async function countOrphans(deps: ReconcileDeps): Promise<number> {
  try {
    return await reportOrphans(deps);
  } catch (error) {
    deps.logger.warn({ err: error }, 'the workflows under way cannot be listed');
    return 0;
  }
}
