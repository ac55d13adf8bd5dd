import { randomBytes, randomUUID } from 'node:crypto';
import type { Database } from '#src/db/connect.js';
import { row } from '#src/db/sql.js';
import type { AgentRow, OperationRow, ServerRow, UserRow } from '#src/db/types.js';
import { operationWorkflowId } from '#src/contracts/temporal.js';
import { hashPassword } from '#src/security/password.js';

/** Signs in every user that `buildUser` makes, unless told otherwise. */
export const TEST_PASSWORD = 'correct horse battery staple';

/** The least that argon2 does: a fraction of a millisecond. */
export function hashCheaply(password: string): Promise<string> {
  return hashPassword(password, { memoryCost: 8, timeCost: 1, parallelism: 1 });
}

/** Every default that must be unique ends in this, so that tests can share a database with other processes. */
function unique(): string {
  return randomBytes(5).toString('hex');
}

/** Two servers of one agent never share a port; drawn at random, some day they would. */
const FIRST_PORT = 20_000;
let serversBuilt = 0;

export async function buildUser(db: Database, overrides: Partial<UserRow> & { password?: string } = {}) {
  const { password = TEST_PASSWORD, ...columns } = overrides;
  const username = columns.username ?? `user-${unique()}`;
  return db.models.User.create({
    username,
    email: `${username}@example.test`,
    password_hash: columns.password_hash ?? (await hashCheaply(password)),
    ...columns,
  });
}

/** Online, but nobody listens there: give `ip_address` and `port` of a real one where that matters. */
export async function buildAgent(db: Database, overrides: Partial<AgentRow> = {}) {
  const agent_id = `agent-${unique()}`;
  return db.models.Agent.create({
    agent_id,
    hostname: `${agent_id}.example.test`,
    ip_address: '127.0.0.1',
    status: 'online',
    last_seen: new Date(),
    ...overrides,
  });
}

/** Installed and stopped, with its EULA accepted: ready to be started. Makes its owner and agent unless given. */
export async function buildServer(db: Database, overrides: Partial<ServerRow> = {}) {
  return db.models.Server.create({
    name: `server-${unique()}`,
    server_type: 'vanilla',
    version: '1.21.4',
    port: FIRST_PORT + (serversBuilt++ % 40_000),
    installed: true,
    accept_eula: true,
    ...overrides,
    user_id: overrides.user_id ?? (await buildUser(db)).id,
    agent_id: overrides.agent_id ?? (await buildAgent(db)).id,
  });
}

/**
 * A row of the ledger, numbered after the others of its server, for tests of what reads them. It is not the server's
 * current operation and nothing carries it: to have one carried out, ask for it. Makes its server unless given (null =
 * an operation without one).
 */
export async function buildOperation(db: Database, overrides: Partial<OperationRow> = {}) {
  const id = overrides.id ?? randomUUID();
  const server_id = overrides.server_id === undefined ? (await buildServer(db)).id : overrides.server_id;
  const server = await row<Pick<ServerRow, 'op_seq' | 'owner_epoch' | 'agent_id' | 'user_id'>>(
    db,
    'UPDATE servers SET op_seq = op_seq + 1 WHERE id = $1 RETURNING op_seq, owner_epoch, agent_id, user_id',
    { bind: [server_id] },
  );
  return db.models.Operation.create({
    kind: 'server.start',
    op_seq: server?.op_seq ?? null,
    epoch: server?.owner_epoch ?? null,
    agent_id: server?.agent_id ?? null,
    requested_by: server?.user_id ?? null,
    workflow_id: operationWorkflowId(id),
    ...overrides,
    id,
    server_id,
  });
}
