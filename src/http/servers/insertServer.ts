import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { violatedConstraint } from '#src/db/errors.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { installationOn } from '#src/domain/installation.js';
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
  const agentId = server.agentId ?? (await placeServer(db, transaction, settings, balancer));
  await lockAgent(db, transaction, agentId, settings);
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
  settings: ServerSettings,
  strategy: BalancerStrategy,
): Promise<string> {
  const online = await rows<PlacementCandidate & Pick<AgentRow, 'capabilities'>>(
    db,
    `SELECT a.id, a.agent_id AS "agentId", a.capabilities, a.cpu_cores AS "cpuCores", a.memory_total / 1048576 AS "memoryTotalMb",
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
  const able = online.filter(({ capabilities }) => installationOn(capabilities, settings) === 'by-agent');
  const request = { strategy, memoryMb: settings.memory_max, lastAgentId: last?.agent_id ?? null };
  const chosen = chooseAgent(able, request);
  if (chosen) return chosen.id;
  const detail =
    able.length === online.length
      ? 'No agent is online and takes new servers'
      : `No agent that is online, takes new servers and can install ${settings.server_type}: those of version 1 fetch paper and purpur only`;
  throw new AppError('no-agent', { detail });
}

/** Creates on one agent follow one another, so that two never find the same free port. */
async function lockAgent(
  db: Database,
  transaction: Transaction,
  agentId: string,
  settings: ServerSettings,
): Promise<void> {
  const agent = await row<{ closed: boolean } & Pick<AgentRow, 'capabilities'>>(
    db,
    'SELECT cordoned OR quarantined AS closed, capabilities FROM agents WHERE id = $1 FOR NO KEY UPDATE',
    { bind: [agentId], transaction },
  );
  if (!agent) throw invalidField('body.agent_id', 'There is no such agent');
  if (agent.closed) throw new AppError('no-agent', { detail: 'The agent takes no new servers' });
  if (installationOn(agent.capabilities, settings) === 'impossible') {
    throw new AppError('no-agent', {
      detail: 'The agent is of version 1 and runs no installers: name a jar_url, or another agent',
    });
  }
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
