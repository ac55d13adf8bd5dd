import type { Database } from '#src/db/connect.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { OperationKind } from '#src/domain/operation.js';
import {
  can,
  SCOPE_OF_ACTION,
  type Actor,
  type Permission,
  type ServerAction,
} from '#src/domain/permissions.js';
import { readId } from '../fields.js';
import { signedIn, type SignedIn } from '../gates.js';
import type { Gate } from '../route.js';
import { SERVER_COLUMNS, type VisibleServer } from './queries.js';

export interface OnServer extends SignedIn {
  server: VisibleServer;
}

/** What one must be allowed on a server to ask for an operation of that kind, or to cancel it; null = admins only. */
export const ACTION_OF_KIND: Record<OperationKind, ServerAction | null> = {
  'server.provision': 'settings',
  'server.start': 'power',
  'server.stop': 'power',
  'server.restart': 'power',
  'server.kill': 'power',
  'server.delete': 'own',
  'server.move': 'own',
  'server.failover': null,
  'server.upgrade': 'settings',
  'backup.create': 'backups',
  'backup.restore': 'backups',
  'backup.delete': 'backups',
  'backup.verify': 'backups',
  'plugin.install': 'plugins',
  'plugin.update': 'plugins',
  'plugin.remove': 'plugins',
  'plugin.enable': 'plugins',
  'plugin.disable': 'plugins',
  'agent.drain': null,
  'agent.install_java': null,
};

/** Routes under `/servers/:id`: who may not see the server is told that there is none, who may not act is told so. */
export function onServer(action: ServerAction): Gate<OnServer> {
  return {
    rule: `server:${action}`,
    scope: SCOPE_OF_ACTION[action],
    errors: [...signedIn.errors, 'not-found', ...(action === 'view' ? [] : (['forbidden'] as const))],
    async admit(ctx, api) {
      const actor = await api.authenticate(ctx, SCOPE_OF_ACTION[action]);
      const server = await loadServer(api.db, readId(ctx.params, 'a server'), actor);
      assertMay(actor, action, server);
      return { actor, server };
    },
  };
}

/**
 * As onServer, but a server that no longer exists is null: a repeated DELETE with the same Idempotency-Key must still
 * find its operation.
 */
export function onServerOrGone(action: ServerAction): Gate<SignedIn & { server: VisibleServer | null }> {
  const gate = onServer(action);
  return {
    rule: gate.rule,
    scope: gate.scope,
    errors: gate.errors,
    async admit(ctx, api) {
      const actor = await api.authenticate(ctx, SCOPE_OF_ACTION[action]);
      const server = await loadServer(api.db, readId(ctx.params, 'a server'), actor);
      if (server) assertMay(actor, action, server);
      return { actor, server };
    },
  };
}

/** Null when it does not exist or the actor may not see it. */
export async function findVisibleServer(
  db: Database,
  id: string,
  actor: Actor,
): Promise<VisibleServer | null> {
  const server = await loadServer(db, id, actor);
  return server && mayOn(actor, 'view', server) ? server : null;
}

export function mayOn(
  actor: Actor,
  action: ServerAction,
  server: ServerRow & { member: Permission[] | null },
): boolean {
  return can(actor, action, { owner_id: server.user_id, member: server.member });
}

function assertMay(
  actor: Actor,
  action: ServerAction,
  server: VisibleServer | null,
): asserts server is VisibleServer {
  if (!server || !mayOn(actor, 'view', server)) {
    throw new AppError('not-found', { detail: 'There is no such server' });
  }
  if (!mayOn(actor, action, server))
    throw new AppError('forbidden', { detail: 'You may see this server, but not that' });
}

async function loadServer(db: Database, id: string, actor: Actor): Promise<VisibleServer | null> {
  const found = await row<VisibleServer>(
    db,
    `SELECT ${SERVER_COLUMNS}, m.permissions AS member
     FROM servers s JOIN agents a ON a.id = s.agent_id
     LEFT JOIN server_members m ON m.server_id = s.id AND m.user_id = $2
     WHERE s.id = $1`,
    { bind: [id, actor.id] },
  );
  return found ?? null;
}
