import { appendAudit } from '#src/db/audit.js';
import { inTransaction } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { findUser, updateProfile } from '../auth/accounts.js';
import { presentUser } from '../auth/presenter.js';
import { user as userSchema } from '../auth/schema.js';
import { removeFactor } from '../auth/secondFactor.js';
import { endFamiliesOf } from '../auth/sessions.js';
import { idParams } from '../fields.js';
import { admins } from '../gates.js';
import { LIST_HEADERS, pageHeaders, readPage } from '../paging.js';
import { defineRoute, type Route } from '../route.js';
import { assertOtherAdmin, listUsers, lockUser, removeUser, setAccess } from './queries.js';
import * as schema from './schema.js';

const tag = 'users';

const list = defineRoute({
  operationId: 'listUsers',
  method: 'GET',
  path: '/users',
  tag,
  summary: 'All accounts',
  auth: admins,
  query: schema.list,
  success: { status: 200, schema: schema.users, headers: LIST_HEADERS },
  async handler({ query, url }, { db }) {
    const page = readPage(query);
    const found = await listUsers(db, query, page);
    return { body: found.rows.map(presentUser), headers: pageHeaders(url, page, found.total) };
  },
});

const get = defineRoute({
  operationId: 'readUser',
  method: 'GET',
  path: '/users/:id',
  tag,
  summary: 'One account',
  auth: admins,
  params: idParams,
  success: { status: 200, schema: userSchema },
  errors: ['not-found'],
  handler: async ({ params }, { db }) => ({ body: presentUser(await findUser(db, params.id)) }),
});

const put = defineRoute({
  operationId: 'updateUser',
  method: 'PUT',
  path: '/users/:id',
  tag,
  summary: 'Change an account, its role, or whether it is active',
  description:
    'Partial, and effective at once: of an account that is disabled all sessions end, and its API keys stop working. Nobody takes their own access, and the last active administrator stays one.',
  auth: admins,
  params: idParams,
  body: schema.change,
  success: { status: 200, schema: userSchema },
  errors: ['not-found', 'name-taken', 'email-taken', 'last-admin', 'own-account'],
  async handler({ actor, params, body, ip, requestId }, { db, accessChanged }) {
    const updated = await inTransaction(db, async transaction => {
      const before = await lockUser(db, params.id, transaction);
      if (before.role === 'admin' && losesAdmin(body)) {
        if (actor.id === before.id) throw new AppError('own-account');
        await assertOtherAdmin(db, before.id, transaction);
      }
      await setAccess(db, params.id, body, transaction);
      const after = await updateProfile(db, params.id, body, transaction);
      if (before.is_active && !after.is_active) await endFamiliesOf(db, params.id, null, transaction);
      const target = { type: 'user', id: params.id } as const;
      const data = changesBetween(before, after);
      await appendAudit(db, { action: 'user.updated', actor, ip, requestId, target, data }, { transaction });
      return after;
    });
    accessChanged(params.id);
    return { body: presentUser(updated) };
  },
});

const remove = defineRoute({
  operationId: 'deleteUser',
  method: 'DELETE',
  path: '/users/:id',
  tag,
  summary: 'Delete an account that owns no servers',
  auth: admins,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found', 'user-in-use', 'last-admin', 'own-account'],
  async handler({ actor, params, ip, requestId }, { db, accessChanged }) {
    if (actor.id === params.id) throw new AppError('own-account');
    await inTransaction(db, async transaction => {
      const { username, email, role } = await lockUser(db, params.id, transaction);
      if (role === 'admin') await assertOtherAdmin(db, params.id, transaction);
      await removeUser(db, params.id, transaction);
      const target = { type: 'user', id: params.id } as const;
      const data = { username, email, role };
      await appendAudit(db, { action: 'user.deleted', actor, ip, requestId, target, data }, { transaction });
    });
    accessChanged(params.id);
    return { body: undefined };
  },
});

const removeTotp = defineRoute({
  operationId: 'removeUserTotp',
  method: 'DELETE',
  path: '/users/:id/totp',
  tag,
  summary: 'Take the second factor from an account that has lost it',
  description:
    'Its recovery codes go with it; the password stays, and so do sessions. Nobody skips their own second factor so: that takes `POST /auth/totp/disable`.',
  auth: admins,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found', 'own-account'],
  async handler({ actor, params, ip, requestId }, { db }) {
    if (actor.id === params.id) throw new AppError('own-account');
    await inTransaction(db, async transaction => {
      await lockUser(db, params.id, transaction);
      const target = { type: 'user', id: params.id } as const;
      if (await removeFactor(db, params.id, transaction))
        await appendAudit(db, { action: 'totp.removed', actor, ip, requestId, target }, { transaction });
    });
    return { body: undefined };
  },
});

function losesAdmin({ role, is_active }: schema.UserChange): boolean {
  return is_active === false || (role !== undefined && role !== 'admin');
}

/** `{field: [before, after]}` of those that differ. */
function changesBetween(before: UserRow, after: UserRow): Record<string, unknown> {
  const fields = ['username', 'email', 'role', 'is_active'] as const;
  return Object.fromEntries(
    fields
      .filter(field => before[field] !== after[field])
      .map(field => [field, [before[field], after[field]]]),
  );
}

export const userRoutes: Route[] = [list, get, put, remove, removeTotp];
