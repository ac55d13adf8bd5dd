import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { AgentRow, ServerRow } from './types.js';

/** Found by its `agent_id`, else by the id of its row. */
export async function findAgentNamed(db: Database, name: string): Promise<AgentRow | undefined> {
  return row<AgentRow>(
    db,
    'SELECT * FROM agents WHERE agent_id = $1 OR id = $2::uuid ORDER BY agent_id = $1 DESC LIMIT 1',
    { bind: [name, UUID.test(name) ? name : null] },
  );
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Grants the lease once more and answers its new number; undefined when it is frozen: others may have been told to run what
 * this agent runs. Committed when this resolves, so whoever freezes the lease at a known number knows that no grant followed.
 */
export async function renewLease(db: Database, agentId: string): Promise<number | undefined> {
  const renewed = await row<Pick<AgentRow, 'lease_seq'>>(
    db,
    `UPDATE agents SET lease_seq = lease_seq + 1, lease_renewed_at = now()
     WHERE id = $1 AND NOT lease_frozen RETURNING lease_seq`,
    { bind: [agentId] },
  );
  return renewed?.lease_seq;
}

export type OwnedServer = Pick<ServerRow, 'id' | 'failover_policy'> & { epoch: number };

/** Every server that belongs to the agent now. */
export async function listOwned(db: Database, agentId: string): Promise<OwnedServer[]> {
  return rows<OwnedServer>(
    db,
    'SELECT id, owner_epoch AS epoch, failover_policy FROM servers WHERE agent_id = $1 ORDER BY id',
    { bind: [agentId] },
  );
}

/** What counts for starting a server of this agent; read afresh, as it changes every few seconds. */
export interface LeaseStanding {
  capabilities: AgentRow['capabilities'];
  /** It renews, and may start leased servers. */
  holds: boolean;
}

/**
 * A grant that is older than half its time is no sign of life: whoever renews does so more often (config/rules.ts), and
 * at the agent it ends a little earlier than here, so that a server which it has just ended would seem to have one.
 */
export async function readLeaseStanding(
  db: Database,
  agentId: string,
  ttlMs: number,
): Promise<LeaseStanding> {
  const found = await row<LeaseStanding>(
    db,
    `SELECT capabilities, NOT lease_frozen
       AND coalesce(lease_renewed_at > now() - $2 / 2.0 * interval '1 millisecond', false) AS holds
     FROM agents WHERE id = $1`,
    { bind: [agentId, ttlMs] },
  );
  return found ?? { capabilities: null, holds: false };
}
