import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { AgentStatus } from './types.js';

/** What an agent tells of itself. */
export interface AgentFacts {
  version: string;
  os: string;
  /** Null: it does not say. */
  cpu_cores: number | null;
  memory_total: number;
  disk_total: number;
  boot_id: string;
  incarnation: string;
  capabilities: Record<string, unknown>;
}

export interface StatusChange {
  id: string;
  status: AgentStatus;
}

/** An agent has answered with all its facts: it is online. Answers the change, if it is one. */
export async function recordAgentFacts(
  db: Database,
  id: string,
  facts: AgentFacts,
): Promise<StatusChange | null> {
  await recordBoot(db, id, facts.boot_id);
  const changed = await row<{ previous: AgentStatus }>(
    db,
    `UPDATE agents a SET status = 'online', failures = 0, last_seen = now(), version = $2, os = $3, cpu_cores = $4,
       memory_total = $5, disk_total = $6, incarnation = $7, capabilities = $8::jsonb, updated_at = now()
     FROM (SELECT id, status AS previous FROM agents WHERE id = $1 FOR NO KEY UPDATE) old
     WHERE a.id = old.id RETURNING old.previous`,
    {
      bind: [
        id,
        facts.version,
        facts.os.slice(0, 50),
        facts.cpu_cores,
        facts.memory_total,
        facts.disk_total,
        facts.incarnation,
        JSON.stringify(facts.capabilities),
      ],
    },
  );
  return changed && changed.previous !== 'online' ? { id, status: 'online' } : null;
}

/**
 * A new boot id says that the agent's host went down, with all processes. In the same statement, so that no death of
 * ours can lose it, its servers that shall run are planned to come back: those that start with their host, and those
 * that ran and restart by themselves. Answers whether there was a boot; of an agent's first one nothing follows.
 */
export async function recordBoot(db: Database, agentId: string, bootId: string): Promise<boolean> {
  if (bootId === '') return false;
  const old = await row<{ booted: boolean }>(
    db,
    `WITH old AS (
       SELECT id, boot_id FROM agents WHERE id = $1 AND boot_id IS DISTINCT FROM $2 FOR NO KEY UPDATE
     ), recorded AS (
       UPDATE agents a SET boot_id = $2 FROM old WHERE a.id = old.id
     ), planned AS (
       UPDATE servers s SET restart_after = now(), crash_count = 0 FROM old
       WHERE s.agent_id = old.id AND old.boot_id IS NOT NULL AND s.desired_state = 'running'
         AND (s.auto_start OR (s.auto_restart AND s.status NOT IN ('stopped', 'error')))
     )
     SELECT boot_id IS NOT NULL AS booted FROM old`,
    { bind: [agentId, bootId] },
  );
  return old?.booted ?? false;
}

export interface PingResult {
  id: string;
  /** `error`: it was reached, but its pin, its token or its health fails. */
  outcome: 'answered' | 'missed' | 'error';
}

/**
 * Records one page of a sweep in one statement. Keyed by the sweep, so that a retried activity counts a miss once.
 * Only an answer sets `last_seen`; offline takes `failuresAllowed` misses and being unseen for `unseenMs`.
 */
export async function recordPings(
  db: Database,
  sweepId: string,
  results: readonly PingResult[],
  limits: { failuresAllowed: number; unseenMs: number },
): Promise<StatusChange[]> {
  return rows<StatusChange>(
    db,
    `WITH ping AS (SELECT * FROM jsonb_to_recordset($2::jsonb) AS p(id uuid, outcome text)),
     old AS (
       SELECT a.id, a.status, p.outcome, CASE WHEN p.outcome = 'answered' THEN 0 ELSE a.failures + 1 END AS failures,
         coalesce(a.last_seen < now() - $4 * interval '1 millisecond', true) AS unseen
       FROM agents a JOIN ping p ON p.id = a.id
       WHERE a.last_sweep_id IS DISTINCT FROM $1::uuid FOR NO KEY UPDATE OF a
     ),
     updated AS (
       UPDATE agents a SET last_sweep_id = $1::uuid, failures = old.failures,
         last_seen = CASE WHEN old.outcome = 'answered' THEN now() ELSE a.last_seen END,
         status = CASE WHEN old.outcome = 'answered' THEN 'online'
                       WHEN old.outcome = 'error' THEN 'error'
                       WHEN old.failures >= $3 AND old.unseen THEN 'offline' ELSE a.status END
       FROM old WHERE a.id = old.id RETURNING a.id, a.status, old.status AS previous
     )
     SELECT id, status FROM updated WHERE status <> previous`,
    { bind: [sweepId, JSON.stringify(results), limits.failuresAllowed, limits.unseenMs] },
  );
}
