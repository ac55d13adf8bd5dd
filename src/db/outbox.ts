import type { OperationKind, OperationState, OperationTrigger } from '#src/domain/operation.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';

/** What Temporal is to be told about one operation, with the names that operators will read there. */
export interface Dispatch {
  id: string;
  kind: OperationKind;
  state: OperationState;
  trigger: OperationTrigger;
  server_id: string | null;
  agent_id: string | null;
  requested_by: string | null;
  request_id: string | null;
  epoch: number;
  cancel_requested_at: Date | null;
  /** The claim: marking is refused when someone has put the row into the outbox again meanwhile. */
  dispatch_after: Date;
  server_name: string | null;
  agent_name: string | null;
}

/** Whoever puts a row into the outbox sends it right after the commit; a dispatcher takes over if it died before. */
export const SENDER_HAS = `interval '3 seconds'`;

const COLUMNS = `o.id, o.kind, o.state, o.trigger, o.server_id, o.agent_id, o.requested_by, o.request_id,
  coalesce(o.epoch, 0) AS epoch, o.cancel_requested_at, o.dispatch_after,
  (SELECT name FROM servers s WHERE s.id = o.server_id) AS server_name,
  (SELECT agent_id FROM agents a WHERE a.id = o.agent_id) AS agent_name`;

/**
 * Takes up to `limit` due rows for five seconds: whoever dies with them, they come up again. Several dispatchers share
 * the work without meeting.
 */
export async function claimDispatches(db: Database, limit: number): Promise<Dispatch[]> {
  return rows<Dispatch>(
    db,
    `UPDATE operations o SET dispatch_after = now() + interval '5 seconds'
     WHERE id IN (
       SELECT id FROM operations WHERE dispatch_after <= now()
       ORDER BY dispatch_after FOR UPDATE SKIP LOCKED LIMIT $1
     ) RETURNING ${COLUMNS}`,
    { bind: [limit] },
  );
}

/** The rows that this process has just put there, and has for itself for a moment. */
export async function readDispatches(db: Database, ids: readonly string[]): Promise<Dispatch[]> {
  return rows<Dispatch>(
    db,
    `SELECT ${COLUMNS} FROM operations o WHERE id = ANY($1::uuid[]) AND dispatch_after IS NOT NULL`,
    { bind: [ids] },
  );
}

/** Sent. A row that was put into the outbox again since the claim (a cancel after the start) stays there. */
export async function markDispatched(db: Database, claim: Dispatch): Promise<void> {
  await row(
    db,
    `UPDATE operations SET dispatch_after = NULL
     WHERE id = $1 AND date_trunc('milliseconds', dispatch_after) = date_trunc('milliseconds', $2::timestamptz)
     RETURNING id`,
    { bind: [claim.id, claim.dispatch_after] },
  );
}
