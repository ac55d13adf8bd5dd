import { raiseAlert } from './alerts.js';
import type { Database } from './connect.js';
import { inTransaction, row } from './sql.js';
import type { ServerRow } from './types.js';

/** A server that was ready, and answers neither pings nor its console any more. */
export interface Silence {
  server_id: string;
  run_id: string;
  seconds: number;
  /** By our clock, give or take what a report needs to come. */
  since: Date;
  /** False: since then it has answered again, or nobody knows. */
  isPresent: boolean;
}

/**
 * Alerts everyone who sees the server, once for each silence; the server's row lock makes that true for two who notice
 * it at once. Answers what names the silence, and who was told now; null for a server that has no reason to answer.
 */
export async function alertSilence(
  db: Database,
  agentId: string,
  silence: Silence,
): Promise<{ occasion: string; told: string[] } | null> {
  const { server_id, run_id, seconds, since } = silence;
  return inTransaction(db, async transaction => {
    const server = await row<Pick<ServerRow, 'name' | 'status'>>(
      db,
      'SELECT name, status FROM servers WHERE id = $1 AND agent_id = $2 FOR NO KEY UPDATE',
      { bind: [server_id, agentId], transaction },
    );
    if (server?.status !== 'running') return null;
    // Told since it fell silent: then it was about this silence, whose beginning is never measured twice the same.
    const known = await row<{ occasion: string }>(
      db,
      `SELECT data ->> 'occasion' AS occasion FROM notifications
       WHERE server_id = $1 AND type = 'alert' AND data ->> 'code' = 'server-hung' AND data ->> 'run_id' = $2
         AND created_at >= $3
       ORDER BY created_at DESC LIMIT 1`,
      { bind: [server_id, run_id, since], transaction },
    );
    if (known) return { occasion: known.occasion, told: [] };
    const occasion = `${run_id}:${since.toISOString()}`;
    const told = await raiseAlert(
      db,
      {
        code: 'server-hung',
        server_id,
        severity: 'critical',
        title: `${server.name} does not answer`,
        body: `Its process is alive, but has answered nothing for ${seconds} seconds.`,
        data: { run_id, occasion, since: since.toISOString(), seconds },
        occasion,
      },
      transaction,
    );
    return { occasion, told };
  });
}
