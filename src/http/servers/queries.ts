import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow, ServerMetricRow, ServerRow, ServerType } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { Actor, Permission } from '#src/domain/permissions.js';
import type { ServerStatus } from '#src/domain/serverState.js';
import type { Page, PageQuery } from '../paging.js';
import { orderBy, SqlFilter } from '../sql.js';

/** A server with what its presentation needs of its agent. */
export interface ListedServer extends ServerRow {
  agent_host: string;
}

/** …and with what its policy needs of the actor's membership; null = no member. */
export interface VisibleServer extends ListedServer {
  member: Permission[] | null;
}

export const SERVER_COLUMNS = 's.*, host(a.ip_address) AS agent_host';

export interface ServerListQuery extends PageQuery {
  status?: ServerStatus;
  agent_id?: string;
  server_type?: ServerType;
  user_id?: string;
  q?: string;
  sort: string;
}

/** Admins see all, others their own and those shared with them. */
export async function listServers(
  db: Database,
  actor: Actor,
  query: ServerListQuery,
  page: Page,
): Promise<{ rows: ListedServer[]; total: number }> {
  const filter = new SqlFilter();
  if (actor.role !== 'admin') {
    const user = filter.value(actor.id);
    filter.where(`(s.user_id = ${user} OR EXISTS (
      SELECT 1 FROM server_members m WHERE m.server_id = s.id AND m.user_id = ${user}))`);
  }
  filter.equals('s.status', query.status);
  filter.equals('s.agent_id', query.agent_id);
  filter.equals('s.server_type', query.server_type);
  filter.equals('s.user_id', query.user_id);
  filter.contains(['s.name', 's.display_name'], query.q);
  const bind = [...filter.bind];
  const found = await rows<ListedServer>(
    db,
    `SELECT ${SERVER_COLUMNS} FROM servers s JOIN agents a ON a.id = s.agent_id
     WHERE ${filter.sql} ${orderBy(query.sort, 's')} LIMIT ${filter.value(page.limit)} OFFSET ${filter.value(page.offset)}`,
    { bind: filter.bind },
  );
  // A page that is not full has told how many there are.
  if (found.length < page.limit && (found.length > 0 || page.offset === 0)) {
    return { rows: found, total: page.offset + found.length };
  }
  const counted = await row<{ n: number }>(
    db,
    `SELECT count(*)::int AS n FROM servers s WHERE ${filter.sql}`,
    {
      bind,
    },
  );
  return { rows: found, total: counted?.n ?? 0 };
}

export async function findListedServer(
  db: Database,
  id: string,
  transaction?: Transaction,
): Promise<ListedServer> {
  const found = await row<ListedServer>(
    db,
    `SELECT ${SERVER_COLUMNS} FROM servers s JOIN agents a ON a.id = s.agent_id WHERE s.id = $1`,
    { bind: [id], transaction },
  );
  if (!found) throw new AppError('not-found', { detail: 'There is no such server' });
  return found;
}

export async function findAgentOf(db: Database, server: ServerRow): Promise<AgentRow> {
  const found = await row<AgentRow>(db, 'SELECT * FROM agents WHERE id = $1', { bind: [server.agent_id] });
  if (!found) throw new AppError('not-found', { detail: 'The server’s agent is gone' });
  return found;
}

/** What was measured last of the present run, unless that is too long ago to call it the present. */
export async function findFreshMetrics(db: Database, serverId: string): Promise<ServerMetricRow | undefined> {
  return row<ServerMetricRow>(
    db,
    `SELECT * FROM server_metrics WHERE server_id = $1 AND "timestamp" > greatest(now() - interval '2 minutes',
       (SELECT last_stopped FROM servers WHERE id = $1))
     ORDER BY "timestamp" DESC LIMIT 1`,
    { bind: [serverId] },
  );
}

/** Rejects with what keeps a server from being started. A provision that is on its way will be waited for. */
export async function assertStartable(
  db: Database,
  serverId: string,
  transaction: Transaction,
): Promise<void> {
  const server = await row<{ installed: boolean; accept_eula: boolean; provisioning: boolean }>(
    db,
    `SELECT installed, accept_eula, EXISTS (
       SELECT 1 FROM operations o WHERE o.server_id = s.id AND o.kind = 'server.provision'
       AND o.state IN ('accepted', 'running') AND o.cancel_requested_at IS NULL) AS provisioning
     FROM servers s WHERE s.id = $1`,
    { bind: [serverId], transaction },
  );
  if (!server) throw new AppError('not-found', { detail: 'There is no such server' });
  if (!server.installed && !server.provisioning) throw new AppError('not-installed');
  if (!server.accept_eula) {
    throw new AppError('eula-not-accepted', {
      detail: 'Set accept_eula to true to accept https://aka.ms/MinecraftEULA',
    });
  }
}
