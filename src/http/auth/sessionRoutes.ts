import { appendAudit } from '#src/db/audit.js';
import { inTransaction } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { idParams } from '../fields.js';
import { inPerson } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import * as schema from './schema.js';
import { endFamilyOf, listFamilies } from './sessions.js';

const tag = 'auth';

const list = defineRoute({
  operationId: 'listMySessions',
  method: 'GET',
  path: '/auth/sessions',
  tag,
  summary: 'Where I am signed in',
  auth: inPerson,
  success: { status: 200, schema: schema.sessions },
  async handler({ actor }, { db }) {
    const found = await listFamilies(db, actor.id);
    const sessions = found.map(({ created_at, last_used_at, expires_at, ...session }) => ({
      ...session,
      created_at: created_at.toISOString(),
      last_used_at: last_used_at.toISOString(),
      expires_at: expires_at.toISOString(),
      current: session.id === actor.sessionId,
    }));
    return { body: sessions.toSorted((a, b) => b.last_used_at.localeCompare(a.last_used_at)) };
  },
});

const revoke = defineRoute({
  operationId: 'endMySession',
  method: 'DELETE',
  path: '/auth/sessions/:id',
  tag,
  summary: 'Sign out somewhere',
  auth: inPerson,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found'],
  async handler({ actor, params, ip, requestId }, { db, accessChanged }) {
    await inTransaction(db, async transaction => {
      if (!(await endFamilyOf(db, actor.id, params.id, transaction)))
        throw new AppError('not-found', { detail: 'You have no such session' });
      const target = { type: 'session', id: params.id } as const;
      await appendAudit(db, { action: 'session.revoked', actor, ip, requestId, target }, { transaction });
    });
    accessChanged(actor.id);
    return { body: undefined };
  },
});

export const sessionRoutes: Route[] = [list, revoke];
