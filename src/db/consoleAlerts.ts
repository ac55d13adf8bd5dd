import type { ConsoleCause } from '#src/domain/consoleCause.js';
import { raiseAlert } from './alerts.js';
import type { Database } from './connect.js';
import { inTransaction, row } from './sql.js';
import type { ServerRow } from './types.js';

/** So that a server that is ill in every way is not all that anyone hears of. */
const ALERTS_AN_HOUR = 10;

/**
 * Alerts everyone who sees the server of what its console says, once for each run and cause, and so many times an hour
 * at most; the server's row lock makes that true. Answers the ids of those who were told.
 */
export async function raiseConsoleAlert(
  db: Database,
  { server_id, run_id, cause }: { server_id: string; run_id: string; cause: ConsoleCause },
): Promise<string[]> {
  const { code, severity, title, suggestion, evidence } = cause;
  return inTransaction(db, async transaction => {
    const server = await row<Pick<ServerRow, 'name' | 'display_name'>>(
      db,
      'SELECT name, display_name FROM servers WHERE id = $1 FOR NO KEY UPDATE',
      { bind: [server_id], transaction },
    );
    if (!server) return [];
    const told = await row<{ recent: number }>(
      db,
      `SELECT count(DISTINCT dedupe_key)::int AS recent FROM notifications
       WHERE server_id = $1 AND created_at > now() - interval '1 hour' AND data ->> 'source' = 'console'`,
      { bind: [server_id], transaction },
    );
    if ((told?.recent ?? 0) >= ALERTS_AN_HOUR) return [];
    return raiseAlert(
      db,
      {
        code,
        server_id,
        severity,
        title: `${server.display_name ?? server.name} ${title}`,
        body: `${evidence[0] ?? ''}\n${suggestion}`,
        data: { source: 'console', run_id, evidence, suggestion },
        occasion: run_id,
      },
      transaction,
    );
  });
}
