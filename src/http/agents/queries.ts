import type { Transaction } from 'sequelize';
import type { Database } from '#src/db/connect.js';
import { violatedConstraint } from '#src/db/errors.js';
import { row, rows } from '#src/db/sql.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { eitherOf } from '../aliases.js';
import type { Page } from '../paging.js';
import { invalidField } from '../parse.js';
import { columnsOf, orderBy, SqlFilter } from '../sql.js';
import type { AgentCreation, AgentInput, AgentListQuery } from './schema.js';

/** An agent with what its presentation needs of its servers. */
export interface ListedAgent extends AgentRow {
  /** Servers that live under its lease, if it can lease. */
  leasable_servers: number;
}

/** An inet without its prefix length, as people wrote it. */
const COLUMNS = `a.*, host(a.ip_address) AS ip_address,
  (SELECT count(*)::int FROM servers s WHERE s.agent_id = a.id AND s.failover_policy <> 'never') AS leasable_servers`;

type AgentSettings = Pick<
  AgentRow,
  | 'hostname'
  | 'ip_address'
  | 'port'
  | 'health_check_interval'
  | 'work_dir'
  | 'tls_mode'
  | 'tls_fingerprint'
  | 'zone'
  | 'labels'
>;

export async function listAgents(db: Database, query: AgentListQuery, page: Page) {
  const filter = new SqlFilter();
  filter.equals('a.status', query.status);
  filter.contains(['a.agent_id', 'a.hostname', 'a.zone'], query.q);
  const total = await row<{ n: number }>(db, `SELECT count(*)::int AS n FROM agents a WHERE ${filter.sql}`, {
    bind: [...filter.bind],
  });
  const found = await rows<ListedAgent>(
    db,
    `SELECT ${COLUMNS} FROM agents a WHERE ${filter.sql} ${orderBy(query.sort, 'a')}
     LIMIT ${filter.value(page.limit)} OFFSET ${filter.value(page.offset)}`,
    { bind: filter.bind },
  );
  return { rows: found, total: total?.n ?? 0 };
}

export async function findAgent(db: Database, id: string, transaction?: Transaction): Promise<ListedAgent> {
  const found = await row<ListedAgent>(db, `SELECT ${COLUMNS} FROM agents a WHERE id = $1`, {
    bind: [id],
    transaction,
  });
  if (!found) throw new AppError('not-found', { detail: 'There is no such agent' });
  return found;
}

/** Rejects with `agent-exists`. `sealedToken` is what the row keeps. */
export async function insertAgent(
  db: Database,
  agent: AgentCreation,
  sealedToken: string,
  transaction: Transaction,
): Promise<ListedAgent> {
  const settings = consistent({
    hostname: agent.hostname,
    ip_address: agent.ip_address,
    port: agent.port ?? 50_051,
    health_check_interval: agent.health_check_interval ?? 30,
    work_dir: agent.work_dir || null,
    // A fingerprint that nobody compares would only look safe.
    tls_mode: agent.tls_mode ?? (agent.tls_fingerprint ? 'pinned' : 'plaintext'),
    tls_fingerprint: agent.tls_fingerprint || null,
    zone: agent.zone || null,
    labels: agent.labels ?? {},
  });
  const columns = columnsOf({ agent_id: agent.agent_id, token: sealedToken, ...settings });
  try {
    const inserted = await row<{ id: string }>(
      db,
      `INSERT INTO agents (${columns.names}) VALUES (${columns.placeholders}) RETURNING id`,
      { bind: columns.bind, transaction },
    );
    return await findAgent(db, inserted?.id ?? '', transaction);
  } catch (error) {
    if (violatedConstraint(error) !== 'agents_agent_id_key') throw error;
    throw new AppError('agent-exists', { detail: `There is an agent ${agent.agent_id}`, cause: error });
  }
}

/** Partial; the row's lock keeps two changes from undoing one another. */
export async function updateAgent(
  db: Database,
  id: string,
  input: AgentInput,
  transaction: Transaction,
): Promise<ListedAgent> {
  const current = await row<AgentRow>(db, `SELECT ${COLUMNS} FROM agents a WHERE id = $1 FOR NO KEY UPDATE`, {
    bind: [id],
    transaction,
  });
  if (!current) throw new AppError('not-found', { detail: 'There is no such agent' });
  const settings = consistent({
    hostname:
      eitherOf(current.hostname, ['hostname', 'host'], input.hostname, input.host) ?? current.hostname,
    ip_address: input.ip_address ?? current.ip_address,
    port: input.port ?? current.port,
    health_check_interval: input.health_check_interval ?? current.health_check_interval,
    work_dir: kept(input.work_dir, current.work_dir),
    tls_mode: input.tls_mode ?? current.tls_mode,
    tls_fingerprint: kept(input.tls_fingerprint, current.tls_fingerprint),
    zone: kept(input.zone, current.zone),
    labels: input.labels ?? current.labels,
  });
  const columns = columnsOf({ ...settings }, 2);
  await rows(db, `UPDATE agents SET ${columns.assignments} WHERE id = $1 RETURNING id`, {
    bind: [id, ...columns.bind],
    transaction,
  });
  return findAgent(db, id, transaction);
}

/** Null ends it. Suppresses new servers and failover there, and nothing else. */
export async function setMaintenance(
  db: Database,
  id: string,
  until: Date | null,
  transaction: Transaction,
): Promise<ListedAgent> {
  await rows(db, 'UPDATE agents SET maintenance_until = $2 WHERE id = $1 RETURNING id', {
    bind: [id, until],
    transaction,
  });
  return findAgent(db, id, transaction);
}

/**
 * Rejects with `agent-in-use` while it holds servers. The row is locked first: a server that is being created on it
 * holds the row too, so it is either seen here or finds no agent. (The foreign key would cascade.)
 */
export async function deleteAgent(db: Database, id: string, transaction: Transaction): Promise<void> {
  const locked = await row(db, 'SELECT id FROM agents WHERE id = $1 FOR UPDATE', {
    bind: [id],
    transaction,
  });
  if (!locked) throw new AppError('not-found', { detail: 'There is no such agent' });
  const held = await row<{ n: number }>(db, 'SELECT count(*)::int AS n FROM servers WHERE agent_id = $1', {
    bind: [id],
    transaction,
  });
  if (held && held.n > 0)
    throw new AppError('agent-in-use', { detail: `The agent still holds ${held.n} servers` });
  await rows(db, 'DELETE FROM agents WHERE id = $1 RETURNING id', { bind: [id], transaction });
}

export async function countAgents(db: Database) {
  const counted = await row<Record<'total' | 'online' | 'offline' | 'error' | 'servers', number>>(
    db,
    `SELECT count(*)::int AS total,
       (count(*) FILTER (WHERE status = 'online'))::int AS online,
       (count(*) FILTER (WHERE status = 'offline'))::int AS offline,
       (count(*) FILTER (WHERE status = 'error'))::int AS error,
       (SELECT count(*)::int FROM servers) AS servers
     FROM agents`,
  );
  return counted ?? { total: 0, online: 0, offline: 0, error: 0, servers: 0 };
}

function kept(given: string | null | undefined, stored: string | null): string | null {
  return given === undefined ? stored : given || null;
}

function consistent(settings: AgentSettings): AgentSettings {
  if (settings.tls_mode !== 'pinned' || settings.tls_fingerprint !== null) return settings;
  throw invalidField('body.tls_fingerprint', 'tls_mode pinned needs a tls_fingerprint');
}
