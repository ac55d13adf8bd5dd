import { appendAudit } from '#src/db/audit.js';
import { inTransaction } from '#src/db/sql.js';
import type { ApiKeyRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { hashToken, newApiKey } from '#src/security/tokens.js';
import { idParams } from '../fields.js';
import { inPerson } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { deleteKey, insertKey, listKeys } from './keys.js';
import * as schema from './keySchema.js';

const tag = 'auth';

const list = defineRoute({
  operationId: 'listMyApiKeys',
  method: 'GET',
  path: '/auth/api-keys',
  tag,
  summary: 'My API keys',
  auth: inPerson,
  success: { status: 200, schema: schema.apiKeys },
  handler: async ({ actor }, { db }) => ({ body: (await listKeys(db, actor.id)).map(presentKey) }),
});

const create = defineRoute({
  operationId: 'createApiKey',
  method: 'POST',
  path: '/auth/api-keys',
  tag,
  summary: 'Make an API key',
  description:
    'Sent like a token: `Authorization: Bearer aymc_…`. It can do what its scopes say and its owner may at that moment, and ends with the account. The answer carries the key, which is never shown again.',
  auth: inPerson,
  body: schema.keyCreation,
  success: { status: 201, schema: schema.createdKey },
  errors: ['too-many-keys'],
  async handler({ actor, body, ip, requestId }, { db }) {
    const expiresAt = body.expires_at ? new Date(body.expires_at) : null;
    if (expiresAt && expiresAt.getTime() <= Date.now()) {
      throw new AppError('invalid-request', { detail: 'expires_at must lie in the future' });
    }
    const { key, prefix } = newApiKey();
    const made = await inTransaction(db, async transaction => {
      const { name, scopes } = body;
      const wanted = { userId: actor.id, name, prefix, keyHash: hashToken(key), scopes, expiresAt };
      const inserted = await insertKey(db, wanted, transaction);
      const target = { type: 'api-key', id: inserted.id } as const;
      const data = { name, prefix, scopes };
      await appendAudit(
        db,
        { action: 'api-key.created', actor, ip, requestId, target, data },
        { transaction },
      );
      return inserted;
    });
    return { body: { ...presentKey(made), key } };
  },
});

const revoke = defineRoute({
  operationId: 'revokeApiKey',
  method: 'DELETE',
  path: '/auth/api-keys/:id',
  tag,
  summary: 'End an API key',
  auth: inPerson,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found'],
  async handler({ actor, params, ip, requestId }, { db, accessChanged }) {
    await inTransaction(db, async transaction => {
      const { name, prefix } = await deleteKey(db, actor.id, params.id, transaction);
      const target = { type: 'api-key', id: params.id } as const;
      const data = { name, prefix };
      await appendAudit(
        db,
        { action: 'api-key.revoked', actor, ip, requestId, target, data },
        { transaction },
      );
    });
    accessChanged(actor.id);
    return { body: undefined };
  },
});

function presentKey({ id, name, prefix, scopes, expires_at, last_used_at, created_at }: ApiKeyRow) {
  return {
    id,
    name,
    prefix,
    scopes,
    expires_at: expires_at?.toISOString() ?? null,
    last_used_at: last_used_at?.toISOString() ?? null,
    created_at: created_at.toISOString(),
  };
}

export const keyRoutes: Route[] = [list, create, revoke];
