import { isStillDue, listDueRestarts, type DueRestart } from '#src/db/crashes.js';
import { AppError } from '#src/domain/errors.js';
import { acceptCorrection, type Acceptance } from './acceptCorrection.js';
import type { ReconcileDeps } from './reconcileDeps.js';

/** What is more comes with the next look. */
const AT_A_LOOK = 100;

/** Starts the servers whose wait after a crash or a boot of their host is over; answers how many. */
export async function acceptDueRestarts(deps: ReconcileDeps): Promise<number> {
  let accepted = 0;
  for (const server of await listDueRestarts(deps.db, AT_A_LOOK)) {
    if ((await acceptRestart(deps, server)) === 'accepted') accepted += 1;
  }
  return accepted;
}

function acceptRestart(deps: ReconcileDeps, server: DueRestart): Promise<Acceptance> {
  return acceptCorrection(deps, {
    kind: 'server.start',
    serverId: server.id,
    reason: 'It is started again',
    idempotencyKey: `restart:${server.id}:${server.op_seq}`,
    async prepare(transaction) {
      if (!(await isStillDue(deps.db, transaction, server))) throw new AppError('stale-write');
      return [];
    },
  });
}
