import type { Metadata } from '@grpc/grpc-js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentAddress } from '#src/agents/gateway.js';
import { appendAudit, type AuditEntry } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { findAgentNamed } from '#src/db/leases.js';
import { row } from '#src/db/sql.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { can, type Permission } from '#src/domain/permissions.js';
import { hasScope } from '#src/domain/scopes.js';
import type { Identity } from '#src/security/identities.js';
import { bearerOf } from '#src/security/tokens.js';
import type { GrpcProxyDeps } from './deps.js';
import { textOf } from './metadata.js';
import type { ProxiedMethod } from './methods.js';

/** One call, as far as it concerns who may make it. */
export interface Arrival {
  method: ProxiedMethod;
  metadata: Metadata;
  requestId: string;
  ip: string | undefined;
}

export interface Target {
  agent: AgentAddress;
  /** When the agent was picked by it. */
  serverId: string | null;
}

/** Rejects with `unauthenticated` or `token-expired`. */
export async function identify({ identities }: GrpcProxyDeps, { metadata }: Arrival): Promise<Identity> {
  const token = bearerOf(textOf(metadata, 'authorization'));
  if (token === undefined) throw new AppError('unauthenticated');
  return (await identities.authenticate(token)).user;
}

/**
 * The agent that is asked for, if the actor may ask it that. Rejects with `insufficient-scope`, `forbidden`, `not-found`
 * or `invalid-request`. Asked again while a call lasts: what it rested on may be gone.
 */
export async function findTarget(deps: GrpcProxyDeps, arrival: Arrival, actor: Identity): Promise<Target> {
  await assertMayCall(deps.db, arrival, actor);
  const agentName = textOf(arrival.metadata, 'agent-id');
  const serverId = textOf(arrival.metadata, 'server-id');
  if ((agentName === undefined) === (serverId === undefined)) {
    throw new AppError('invalid-request', {
      detail: 'Name one agent in agent-id, or one server in server-id',
    });
  }
  const found =
    serverId === undefined
      ? await findAgentNamed(deps.db, agentName ?? '')
      : await findAgentOf(deps.db, serverId, actor);
  if (!found) {
    const what = serverId === undefined ? 'agent' : 'server';
    throw new AppError('not-found', { detail: `There is no such ${what}` });
  }
  return { agent: agentAddress(found, deps.openToken), serverId: serverId ?? null };
}

/**
 * Some calls an agent of version 1 does not survive, or answers nothing else for half a minute, or takes lines from whoever
 * reads its console. That they do no harm is for the gateway to see to, which does the same in its own order; here, method
 * and version decide, and no byte is read. Rejects with `agent-unsupported`, and as calls do.
 */
export async function refuseHarm(
  { gateway }: GrpcProxyDeps,
  { method, requestId }: Arrival,
  { agent }: Target,
  signal: AbortSignal,
): Promise<void> {
  if (!method.harmsVersion1 || !(await gateway.isOfVersion1(agent, { signal, requestId }))) return;
  throw new AppError('agent-unsupported', {
    detail: `The agent is of version 1, which ${method.name} can harm: use /api/v1/servers, which does it safely`,
  });
}

/** What changes something is recorded before it is passed on: what cannot be recorded does not happen. */
export async function recordCall(
  db: Database,
  arrival: Arrival,
  actor: Identity,
  { agent, serverId }: Target,
): Promise<void> {
  if (!arrival.method.changes) return;
  await appendAudit(db, {
    ...auditOf(arrival, actor),
    action: 'agent.proxied-call',
    target: { type: 'agent', id: agent.id },
    data: { method: arrival.method.name, ...(serverId !== null && { server_id: serverId }) },
  });
}

/** Somebody who keeps trying is one line a minute and method. */
const DENIAL_ONCE_IN_S = 60;

async function assertMayCall(db: Database, arrival: Arrival, actor: Identity): Promise<void> {
  const { needs, path } = arrival.method;
  const scope = needs === 'admin' ? 'admin' : 'read';
  if (!hasScope(actor, scope)) {
    throw new AppError('insufficient-scope', { detail: `The API key lacks the scope ${scope}` });
  }
  if (needs === 'account' || actor.role === 'admin') return;
  await appendAudit(
    db,
    { ...auditOf(arrival, actor), action: 'access.denied', data: { method: 'gRPC', route: path } },
    { onceInS: DENIAL_ONCE_IN_S },
  );
  throw new AppError('forbidden', { detail: 'Only administrators may call that' });
}

function auditOf(
  { ip, requestId }: Arrival,
  actor: Identity,
): Pick<AuditEntry, 'actor' | 'ip' | 'requestId'> {
  return { actor, requestId, ...(ip !== undefined && { ip }) };
}

/** Undefined when there is no such server, or none that the actor may see. */
async function findAgentOf(db: Database, serverId: string, actor: Identity): Promise<AgentRow | undefined> {
  const found = await row<AgentRow & { owner_id: string; member: Permission[] | null }>(
    db,
    `SELECT a.*, s.user_id AS owner_id, m.permissions AS member
     FROM servers s JOIN agents a ON a.id = s.agent_id
     LEFT JOIN server_members m ON m.server_id = s.id AND m.user_id = $2
     WHERE s.id::text = lower($1)`,
    { bind: [serverId, actor.id] },
  );
  return found && can(actor, 'view', found) ? found : undefined;
}
