import type { Database } from '#src/db/connect.js';
import { row } from '#src/db/sql.js';
import type { Api } from '../deps.js';

type Health = 'up' | 'down' | 'disabled';

export interface Readiness {
  status: 'ready' | 'unavailable';
  checks: Record<'postgres' | 'temporal' | 'redis', Health>;
}

/** Shorter than any orchestrator's own patience. */
const DEADLINE_MS = 2_000;

/** Only Postgres decides: without Temporal and Redis requests are still accepted, and carried out later. */
export async function checkReadiness(api: Pick<Api, 'db' | 'neighbours'>): Promise<Readiness> {
  const [postgres, temporal, redis] = await Promise.all([
    within(DEADLINE_MS, () => pingDatabase(api.db)),
    within(DEADLINE_MS, api.neighbours.temporal),
    within(DEADLINE_MS, api.neighbours.redis),
  ]);
  return { status: postgres === 'up' ? 'ready' : 'unavailable', checks: { postgres, temporal, redis } };
}

async function pingDatabase(db: Database): Promise<Health> {
  await row(db, 'SELECT 1');
  return 'up';
}

/** Whatever fails or does not answer in time is down. */
async function within(ms: number, check: (signal: AbortSignal) => Promise<Health>): Promise<Health> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<Health>(resolve => {
    timer = setTimeout(() => {
      resolve('down');
      late.abort();
    }, ms);
  });
  try {
    return await Promise.race([check(late.signal), timeout]);
  } catch {
    return 'down';
  } finally {
    clearTimeout(timer);
  }
}
