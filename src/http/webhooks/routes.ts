import type { Transaction } from 'sequelize';
import { appendAudit } from '#src/db/audit.js';
import { requestTrial } from '#src/db/deliveries.js';
import { inTransaction } from '#src/db/sql.js';
import type { WebhookRow } from '#src/db/types.js';
import type { AuditAction } from '#src/domain/audit.js';
import { assertFetchable } from '#src/security/publicUrl.js';
import { newToken } from '#src/security/tokens.js';
import type { Api } from '../deps.js';
import { idParams } from '../fields.js';
import { inPerson, type InPerson } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { deleteWebhook, findWebhook, insertWebhook, listWebhooks, updateWebhook } from './queries.js';
import * as schema from './schema.js';

const tag = 'webhooks';

const list = defineRoute({
  operationId: 'listMyWebhooks',
  method: 'GET',
  path: '/webhooks',
  tag,
  summary: 'My webhooks, and how their calls went',
  auth: inPerson,
  success: { status: 200, schema: schema.webhooks },
  handler: async ({ actor }, { db }) => ({ body: (await listWebhooks(db, actor.id)).map(present) }),
});

const create = defineRoute({
  operationId: 'createWebhook',
  method: 'POST',
  path: '/webhooks',
  tag,
  summary: 'Have my alerts sent to a URL',
  description:
    'Each call is signed with the secret, which this answer carries and nothing after it. A call that fails is tried again for a day; too many given up in a row switch the webhook off.',
  auth: inPerson,
  body: schema.creation,
  success: { status: 201, schema: schema.createdWebhook },
  errors: ['too-many-webhooks', 'private-address'],
  async handler(request, api) {
    const { actor, body } = request;
    await assertFetchable(body.url, rule(api));
    const secret = newToken();
    const made = await inTransaction(api.db, async transaction => {
      const inserted = await insertWebhook(api.db, actor.id, body, api.sealToken(secret), transaction);
      await record(api, request, 'webhook.created', inserted, transaction);
      return inserted;
    });
    return { body: { ...present(made), secret } };
  },
});

const get = defineRoute({
  operationId: 'readWebhook',
  method: 'GET',
  path: '/webhooks/:id',
  tag,
  summary: 'One webhook of mine',
  auth: inPerson,
  params: idParams,
  success: { status: 200, schema: schema.webhook },
  errors: ['not-found'],
  handler: async ({ actor, params }, { db }) => ({
    body: present(await findWebhook(db, actor.id, params.id)),
  }),
});

const put = defineRoute({
  operationId: 'updateWebhook',
  method: 'PUT',
  path: '/webhooks/:id',
  tag,
  summary: 'Change a webhook, or switch it on again',
  description: 'Partial.',
  auth: inPerson,
  params: idParams,
  body: schema.change,
  success: { status: 200, schema: schema.webhook },
  errors: ['not-found', 'private-address'],
  async handler(request, api) {
    const { actor, params, body } = request;
    if (body.url !== undefined) await assertFetchable(body.url, rule(api));
    const updated = await inTransaction(api.db, async transaction => {
      const after = await updateWebhook(api.db, actor.id, params.id, body, transaction);
      await record(api, request, 'webhook.updated', after, transaction);
      return after;
    });
    return { body: present(updated) };
  },
});

const remove = defineRoute({
  operationId: 'deleteWebhook',
  method: 'DELETE',
  path: '/webhooks/:id',
  tag,
  summary: 'Send nothing there any more',
  auth: inPerson,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found'],
  async handler(request, api) {
    await inTransaction(api.db, async transaction => {
      const gone = await deleteWebhook(api.db, request.actor.id, request.params.id, transaction);
      await record(api, request, 'webhook.deleted', gone, transaction);
    });
    return { body: undefined };
  },
});

const tryOut = defineRoute({
  operationId: 'testWebhook',
  method: 'POST',
  path: '/webhooks/:id/test',
  tag,
  summary: 'Call it now, with a message that says so',
  description: 'How it went is in `last_status` of the webhook. One trial at a time.',
  auth: inPerson,
  params: idParams,
  success: { status: 202, schema: schema.trial },
  errors: ['not-found'],
  async handler({ actor, params, requestId }, { db, bus }) {
    const { id } = await findWebhook(db, actor.id, params.id);
    const delivery_id = await requestTrial(db, id, requestId);
    bus.publish('dispatch', {});
    return { body: { delivery_id } };
  },
});

function rule({ settings }: Api) {
  return { allowPrivate: settings.servers.allowPrivateUrls };
}

/** Only the host of its URL: the rest may be a secret of whoever listens there. */
async function record(
  { db }: Api,
  { actor, ip, requestId }: InPerson & { ip: string; requestId: string },
  action: AuditAction,
  { id, url }: WebhookRow,
  transaction: Transaction,
): Promise<void> {
  const target = { type: 'webhook', id } as const;
  const data = { host: new URL(url).host };
  await appendAudit(db, { action, actor, ip, requestId, target, data }, { transaction });
}

function present(webhook: WebhookRow) {
  const { id, url, events, format, is_active, failures, last_status, last_error } = webhook;
  return {
    id,
    url,
    events,
    format,
    is_active,
    failures,
    last_status,
    last_error,
    last_delivery_at: webhook.last_delivery_at?.toISOString() ?? null,
    created_at: webhook.created_at.toISOString(),
    updated_at: webhook.updated_at.toISOString(),
  };
}

export const webhookRoutes: Route[] = [list, create, get, put, remove, tryOut];
