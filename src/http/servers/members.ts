import Joi from 'joi';
import type { Transaction } from 'sequelize';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { inTransaction, row, rows } from '#src/db/sql.js';
import type { ServerMemberRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { PERMISSIONS, type Permission } from '#src/domain/permissions.js';
import { anyText, idParams, named, readOnly, time, uuid } from '../fields.js';
import { defineRoute, type Route } from '../route.js';
import { mayOn, onServer, type OnServer } from './policy.js';

const tag = 'servers';

const permissions = () =>
  Joi.array()
    .items(Joi.string().valid(...PERMISSIONS))
    .unique()
    .example(['console.read', 'power']);

interface MemberParams {
  id: string;
  user_id: string;
}
const memberParams = Joi.object<MemberParams, true>({
  id: uuid().required(),
  user_id: uuid().required(),
});

const change = Joi.object<{ permissions: Permission[] }>({
  permissions: permissions()
    .required()
    .description('All that the member may from now on. Status and metrics come with any membership.'),
  ...readOnly('server_id', 'user_id', 'username', 'created_at', 'updated_at'),
});

const memberSchema = named(
  'Member',
  Joi.object({
    server_id: uuid().required(),
    user_id: uuid().required(),
    username: anyText().required(),
    permissions: permissions().required(),
    created_at: time().required(),
    updated_at: time().required(),
  }),
);

type Member = ServerMemberRow & { username: string };

const list = defineRoute({
  operationId: 'listMembers',
  method: 'GET',
  path: '/servers/:id/members',
  tag,
  summary: 'With whom a server is shared',
  auth: onServer('members'),
  params: idParams,
  success: { status: 200, schema: Joi.array().items(memberSchema) },
  async handler({ server }, { db }) {
    const found = await rows<Member>(
      db,
      `SELECT m.*, u.username FROM server_members m JOIN users u ON u.id = m.user_id
       WHERE m.server_id = $1 ORDER BY u.username`,
      { bind: [server.id] },
    );
    return { body: found.map(presentMember) };
  },
});

const put = defineRoute({
  operationId: 'putMember',
  method: 'PUT',
  path: '/servers/:id/members/:user_id',
  tag,
  summary: 'Share a server with a user, or change what they may',
  description:
    'Members give and take only permissions that they have themselves; owner and administrators any. The role of a viewer caps whatever is given.',
  auth: onServer('members'),
  params: memberParams,
  body: change,
  success: { status: 200, schema: memberSchema },
  errors: ['not-found'],
  async handler({ actor, server, params, body, ip, requestId }, { db, accessChanged }) {
    if (params.user_id === server.user_id) {
      throw new AppError('invalid-request', { detail: 'The owner of a server may everything on it already' });
    }
    const member = await inTransaction(db, async transaction => {
      await lockUser(db, params.user_id, transaction);
      const before = (await findMember(db, params, transaction))?.permissions ?? [];
      assertMayChange({ actor, server }, difference(before, body.permissions));
      const stored = await storeMember(db, params, body.permissions, transaction);
      const target = { type: 'server', id: server.id } as const;
      const data = { user_id: params.user_id, before, after: body.permissions };
      await appendAudit(
        db,
        { action: 'member.updated', actor, ip, requestId, target, data },
        { transaction },
      );
      return stored;
    });
    accessChanged(params.user_id);
    return { body: presentMember(member) };
  },
});

const remove = defineRoute({
  operationId: 'removeMember',
  method: 'DELETE',
  path: '/servers/:id/members/:user_id',
  tag,
  summary: 'Share a server with a user no longer',
  auth: onServer('members'),
  params: memberParams,
  success: { status: 204 },
  errors: ['not-found'],
  async handler({ actor, server, params, ip, requestId }, { db, accessChanged }) {
    await inTransaction(db, async transaction => {
      const member = await findMember(db, params, transaction);
      if (!member) throw new AppError('not-found', { detail: 'The server is not shared with that user' });
      assertMayChange({ actor, server }, member.permissions);
      await rows(db, 'DELETE FROM server_members WHERE server_id = $1 AND user_id = $2 RETURNING user_id', {
        bind: [server.id, params.user_id],
        transaction,
      });
      const target = { type: 'server', id: server.id } as const;
      const data = { user_id: params.user_id, before: member.permissions };
      await appendAudit(
        db,
        { action: 'member.removed', actor, ip, requestId, target, data },
        { transaction },
      );
    });
    accessChanged(params.user_id);
    return { body: undefined };
  },
});

/** Nobody gives, or takes, what they do not have. */
function assertMayChange({ actor, server }: OnServer, changed: readonly Permission[]): void {
  const beyond = changed.filter(permission => !mayOn(actor, permission, server));
  if (beyond.length > 0)
    throw new AppError('forbidden', { detail: `You do not have ${beyond.join(', ')} yourself` });
}

function difference(before: readonly Permission[], after: readonly Permission[]): Permission[] {
  return PERMISSIONS.filter(permission => before.includes(permission) !== after.includes(permission));
}

/** Of two changes of one membership the second sees the first. Rejects with `not-found`. */
async function lockUser(db: Database, id: string, transaction: Transaction): Promise<void> {
  const user = await row(db, 'SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE', {
    bind: [id],
    transaction,
  });
  if (!user) throw new AppError('not-found', { detail: 'There is no such user' });
}

async function findMember(
  db: Database,
  { id, user_id }: MemberParams,
  transaction: Transaction,
): Promise<ServerMemberRow | undefined> {
  return row<ServerMemberRow>(
    db,
    'SELECT * FROM server_members WHERE server_id = $1 AND user_id = $2 FOR UPDATE',
    { bind: [id, user_id], transaction },
  );
}

async function storeMember(
  db: Database,
  { id, user_id }: MemberParams,
  granted: readonly Permission[],
  transaction: Transaction,
): Promise<Member> {
  const stored = await row<Member>(
    db,
    `INSERT INTO server_members AS m (server_id, user_id, permissions) VALUES ($1, $2, $3)
     ON CONFLICT (server_id, user_id) DO UPDATE SET permissions = excluded.permissions
     RETURNING m.*, (SELECT username FROM users WHERE id = $2) AS username`,
    { bind: [id, user_id, granted], transaction },
  );
  if (!stored) throw new AppError('internal', { detail: 'A membership was not stored' });
  return stored;
}

function presentMember({
  server_id,
  user_id,
  username,
  permissions: granted,
  created_at,
  updated_at,
}: Member) {
  return {
    server_id,
    user_id,
    username,
    permissions: granted,
    created_at: created_at.toISOString(),
    updated_at: updated_at.toISOString(),
  };
}

export const memberRoutes: Route[] = [list, put, remove];
