import type { Channel } from '#src/contracts/events.js';
import type { OperationView } from '#src/contracts/operation.js';
import type { Database } from '#src/db/connect.js';
import { findOperations } from '#src/db/operationQueries.js';
import { assertNever, type ErrorCode } from '#src/domain/errors.js';
import {
  can,
  SCOPE_OF_ACTION,
  type Actor,
  type ServerAccess,
  type ServerAction,
} from '#src/domain/permissions.js';
import { hasScope } from '#src/domain/scopes.js';
import { findServerAccess } from './queries.js';

/** What the decisions need to know; what is missing from a map does not exist. */
export interface AccessFacts {
  operations: ReadonlyMap<string, Pick<OperationView, 'server_id' | 'requested_by'>>;
  servers: ReadonlyMap<string, ServerAccess>;
}

/** Which of the channels the actor may not watch now, and why. Two statements, however many channels. */
export async function findDenials(
  db: Database,
  actor: Actor,
  channels: ReadonlyMap<string, Channel>,
): Promise<Map<string, ErrorCode>> {
  const facts = await loadFacts(db, actor, [...channels.values()]);
  const denials = new Map<string, ErrorCode>();
  for (const [name, channel] of channels) {
    const denial = channelDenial(actor, channel, facts);
    if (denial) denials.set(name, denial);
  }
  return denials;
}

/** Null when the actor may do that to the server. */
export async function findServerDenial(
  db: Database,
  actor: Actor,
  serverId: string,
  action: ServerAction,
): Promise<ErrorCode | null> {
  const servers = await findServerAccess(db, actor.id, [serverId]);
  return serverDenial(actor, action, servers.get(serverId));
}

/** Null when the actor may watch the channel. `not-found` gives away nothing about what they may not see. */
export function channelDenial(actor: Actor, channel: Channel, facts: AccessFacts): ErrorCode | null {
  if (!hasScope(actor, channel.kind === 'agents' ? 'admin' : 'read')) return 'insufficient-scope';
  switch (channel.kind) {
    case 'server': {
      const action = channel.topic === 'logs' ? 'console.read' : 'view';
      return serverDenial(actor, action, facts.servers.get(channel.server_id));
    }
    case 'operation': {
      const operation = facts.operations.get(channel.operation_id);
      if (!operation) return 'not-found';
      // Operations outlive their servers: then only who asked for one, and admins, still see it.
      if (actor.role === 'admin' || operation.requested_by === actor.id) return null;
      const server = operation.server_id === null ? undefined : facts.servers.get(operation.server_id);
      return serverDenial(actor, 'view', server);
    }
    case 'agents':
      return actor.role === 'admin' ? null : 'forbidden';
    case 'notifications':
      return null;
    default:
      return assertNever(channel);
  }
}

function serverDenial(
  actor: Actor,
  action: ServerAction,
  server: ServerAccess | undefined,
): ErrorCode | null {
  if (!server || !can(actor, 'view', server)) return 'not-found';
  if (!hasScope(actor, SCOPE_OF_ACTION[action])) return 'insufficient-scope';
  return can(actor, action, server) ? null : 'forbidden';
}

async function loadFacts(db: Database, actor: Actor, channels: readonly Channel[]): Promise<AccessFacts> {
  const operationIds = channels.flatMap(each => (each.kind === 'operation' ? [each.operation_id] : []));
  const operations =
    operationIds.length > 0 ? await findOperations(db, operationIds) : new Map<string, OperationView>();
  const serverIds = new Set(channels.flatMap(each => (each.kind === 'server' ? [each.server_id] : [])));
  for (const { server_id } of operations.values()) if (server_id !== null) serverIds.add(server_id);
  return { operations, servers: await findServerAccess(db, actor.id, [...serverIds]) };
}
