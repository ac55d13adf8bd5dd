import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { violatedConstraint } from '#src/db/errors.js';
import { row, rows } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { chooseAgent, type BalancerStrategy, type PlacementCandidate } from '#src/domain/placement.js';
import { invalidField } from '../parse.js';
import { columnsOf } from '../sql.js';
import type { ServerSettings } from './settings.js';

export interface NewServer {
  id: string;
  userId: string;
  /** Null: the balancer chooses. */
  agentId: string | null;
  settings: ServerSettings;
}

const FIRST_PORT = 25_565;
const LAST_PORT = 65_535;

/**
 * Places and inserts a server, in the transaction that accepts its first operation. Rejects with `no-agent`,
 * `port-taken`, or `invalid-request` for an agent that does not exist.
 */
export async function insertServer(
  db: Database,
  transaction: Transaction,
  server: NewServer,
  balancer: BalancerStrategy,
): Promise<void> {
  const { settings } = server;
  const agentId = server.agentId ?? (await placeServer(db, transaction, settings.memory_max, balancer));
  await lockAgent(db, transaction, agentId);
  const port = settings.port ?? (await freePort(db, transaction, agentId));
  const columns = columnsOf({ id: server.id, user_id: server.userId, agent_id: agentId, ...settings, port });
  try {
    await rows(db, `INSERT INTO servers (${columns.names}) VALUES (${columns.placeholders}) RETURNING id`, {
      bind: columns.bind,
      transaction,
    });
  } catch (error) {
    throw asPortTaken(error, port);
  }
}

/** What a row refused for its port is called; every other error as it was. */
export function asPortTaken(error: unknown, port: number | null): unknown {
  if (violatedConstraint(error) !== 'servers_agent_id_port_key') return error;
  return new AppError('port-taken', {
    detail: `Port ${port} is taken by another server of this agent`,
    cause: error,
  });
}

async function placeServer(
  db: Database,
  transaction: Transaction,
  memoryMb: number,
  strategy: BalancerStrategy,
): Promise<string> {
  const candidates = await rows<PlacementCandidate>(
    db,
    `SELECT a.id, a.agent_id AS "agentId", a.cpu_cores AS "cpuCores", a.memory_total / 1048576 AS "memoryTotalMb",
       nullif((a.capabilities ->> 'max_servers')::int, 0) AS "maxServers",
       count(s.id)::int AS servers, coalesce(sum(s.memory_max), 0)::bigint AS "memoryReservedMb"
     FROM agents a LEFT JOIN servers s ON s.agent_id = a.id
     WHERE a.status = 'online' AND NOT a.cordoned AND NOT a.quarantined
       AND (a.maintenance_until IS NULL OR a.maintenance_until < now())
     GROUP BY a.id`,
    { transaction },
  );
  const last = await row<{ agent_id: string }>(
    db,
    'SELECT a.agent_id FROM servers s JOIN agents a ON a.id = s.agent_id ORDER BY s.created_at DESC, s.id LIMIT 1',
    { transaction },
  );
  const chosen = chooseAgent(candidates, { strategy, memoryMb, lastAgentId: last?.agent_id ?? null });
  if (!chosen) throw new AppError('no-agent', { detail: 'No agent is online and takes new servers' });
  return chosen.id;
}

/** Creates on one agent follow one another, so that two never find the same free port. */
async function lockAgent(db: Database, transaction: Transaction, agentId: string): Promise<void> {
  const agent = await row<{ closed: boolean }>(
    db,
    'SELECT cordoned OR quarantined AS closed FROM agents WHERE id = $1 FOR NO KEY UPDATE',
    { bind: [agentId], transaction },
  );
  if (!agent) throw invalidField('body.agent_id', 'There is no such agent');
  if (agent.closed) throw new AppError('no-agent', { detail: 'The agent takes no new servers' });
}

async function freePort(db: Database, transaction: Transaction, agentId: string): Promise<number> {
  const free = await row<{ port: number | null }>(
    db,
    // The lowest free one is the first, or follows one that is taken.
    `SELECT min(p) AS port FROM (
       SELECT $2::int AS p UNION ALL SELECT port + 1 FROM servers WHERE agent_id = $1 AND port >= $2
     ) AS tried
     WHERE p <= $3 AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.agent_id = $1 AND s.port = p)`,
    { bind: [agentId, FIRST_PORT, LAST_PORT], transaction },
  );
  if (!free?.port) throw new AppError('no-agent', { detail: 'The agent has no free port left' });
  return free.port;
}
