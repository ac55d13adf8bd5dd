import { randomUUID } from 'node:crypto';
import type { Database } from '#src/db/connect.js';
import { inTransaction, row, rows } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { canCreateServer } from '#src/domain/permissions.js';
import { assertFetchable, type UrlRule } from '#src/security/publicUrl.js';
import { AGENT_FAILURES } from '../agents/live.js';
import { BASE } from '../context.js';
import { idParams } from '../fields.js';
import { signedIn, type SignedIn } from '../gates.js';
import { operationHeaders, OPERATION_HEADERS } from '../operations/presenter.js';
import { LIST_HEADERS, pageHeaders, readPage, UNPAGED_SIZE } from '../paging.js';
import { defineRoute, type Gate, type Route } from '../route.js';
import { columnsOf } from '../sql.js';
import { serverActionRoutes } from './actions.js';
import { asPortTaken, insertServer } from './insertServer.js';
import { observeStatus, sendCommand } from './live.js';
import { logs } from './logs.js';
import { metrics } from './metrics.js';
import { memberRoutes } from './members.js';
import { playerRoutes } from './players.js';
import { onServer } from './policy.js';
import { presentServer } from './presenter.js';
import { findListedServer, listServers } from './queries.js';
import * as schema from './schema.js';
import { changedSettings, settingsOfNew, type ServerSettings } from './settings.js';

const tag = 'servers';

const creators: Gate<SignedIn> = {
  rule: 'server:create',
  scope: 'servers:write',
  errors: [...signedIn.errors, 'forbidden'],
  async admit(ctx, api) {
    const actor = await api.authenticate(ctx, 'servers:write');
    if (!canCreateServer(actor)) throw new AppError('forbidden', { detail: 'Viewers create no servers' });
    return { actor };
  },
};

const list = defineRoute({
  operationId: 'listServers',
  method: 'GET',
  path: '/servers',
  tag,
  summary: 'My servers, and those shared with me; all of them for admins',
  description: `Without any paging parameter up to ${UNPAGED_SIZE}.`,
  auth: signedIn,
  query: schema.list,
  success: { status: 200, schema: schema.servers, headers: LIST_HEADERS },
  async handler({ actor, query, url }, { db }) {
    const page = readPage(query, UNPAGED_SIZE);
    const found = await listServers(db, actor, query, page);
    return {
      body: found.rows.map(server => presentServer(server)),
      headers: pageHeaders(url, page, found.total),
    };
  },
});

const create = defineRoute({
  operationId: 'createServer',
  method: 'POST',
  path: '/servers',
  tag,
  summary: 'Create a server and install it',
  description:
    'The answer carries the id of the operation that installs it. A server can be started before that has ended: the start waits.',
  auth: creators,
  body: schema.creation,
  idempotent: true,
  success: {
    status: 201,
    schema: schema.server,
    headers: { ...OPERATION_HEADERS, Location: 'The server' },
  },
  errors: ['no-agent', 'port-taken', 'private-address'],
  async handler({ actor, body, idempotencyKey, requestId }, { db, operations, settings }) {
    const values = settingsOfNew(body, settings.servers);
    await assertJarUrl(values.jar_url, { allowPrivate: settings.servers.allowPrivateUrls });
    const server = { id: randomUUID(), userId: actor.id, agentId: body.agent_id || null, settings: values };
    const { operation } = await operations.request({
      kind: 'server.provision',
      serverId: server.id,
      requestedBy: actor.id,
      trigger: 'user',
      requestId,
      fingerprint: body,
      ...(idempotencyKey !== undefined && { idempotencyKey }),
      prepare: transaction => insertServer(db, transaction, server, settings.servers.balancer),
    });
    // A repeat finds the server of the first time.
    const id = operation.server_id ?? server.id;
    return {
      body: presentServer(await findListedServer(db, id), operation.id),
      headers: { ...operationHeaders(operation.id), Location: `${BASE}/servers/${id}` },
    };
  },
});

const get = defineRoute({
  operationId: 'readServer',
  method: 'GET',
  path: '/servers/:id',
  tag,
  summary: 'One server',
  auth: onServer('view'),
  params: idParams,
  success: { status: 200, schema: schema.server },
  handler: ({ server }) => ({ body: presentServer(server) }),
});

const put = defineRoute({
  operationId: 'updateServer',
  method: 'PUT',
  path: '/servers/:id',
  tag,
  summary: 'Change settings of a server',
  description:
    'Partial. What a running server is started with takes effect at its next start. Type, version and jar can change until it is installed.',
  auth: onServer('settings'),
  params: idParams,
  body: schema.change,
  success: { status: 200, schema: schema.server },
  errors: ['port-taken', 'private-address'],
  async handler({ params, body }, { db, settings }) {
    await assertJarUrl(body.jar_url ?? null, { allowPrivate: settings.servers.allowPrivateUrls });
    return {
      body: presentServer(await updateServer(db, params.id, current => changedSettings(current, body))),
    };
  },
});

const command = defineRoute({
  operationId: 'sendServerCommand',
  method: 'POST',
  path: '/servers/:id/command',
  tag,
  summary: 'Send one line to the console of a running server',
  auth: onServer('console.write'),
  params: idParams,
  body: schema.command,
  success: { status: 200, schema: schema.commandAnswer },
  errors: ['server-not-running', 'console-busy', 'outcome-unknown', ...AGENT_FAILURES],
  async handler({ server, body, signal, requestId }, api) {
    return { body: await sendCommand(api, server, body.command, { signal, requestId }) };
  },
});

const status = defineRoute({
  operationId: 'readServerStatus',
  method: 'GET',
  path: '/servers/:id/status',
  tag,
  summary: 'What a server does right now',
  description: 'Asked of its agent; when that does not answer, what was seen last, and when.',
  auth: onServer('view'),
  params: idParams,
  success: { status: 200, schema: schema.status },
  async handler({ server, signal, requestId }, api) {
    return { body: await observeStatus(api, server, { signal, requestId }) };
  },
});

async function assertJarUrl(url: string | null, rule: UrlRule): Promise<void> {
  if (url !== null) await assertFetchable(url, rule);
}

/** Reads, decides and writes under the row's lock, so that two partial changes never undo one another. */
async function updateServer(db: Database, id: string, decide: (current: ServerRow) => ServerSettings) {
  return inTransaction(db, async transaction => {
    const current = await row<ServerRow>(db, 'SELECT * FROM servers WHERE id = $1 FOR NO KEY UPDATE', {
      bind: [id],
      transaction,
    });
    if (!current) throw new AppError('not-found', { detail: 'There is no such server' });
    const settings = decide(current);
    const columns = columnsOf({ ...settings }, 2);
    try {
      await rows(db, `UPDATE servers SET ${columns.assignments} WHERE id = $1 RETURNING id`, {
        bind: [id, ...columns.bind],
        transaction,
      });
    } catch (error) {
      throw asPortTaken(error, settings.port);
    }
    return findListedServer(db, id, transaction);
  });
}

export const serverRoutes: Route[] = [
  list,
  create,
  get,
  put,
  ...serverActionRoutes,
  command,
  status,
  logs,
  metrics,
  ...memberRoutes,
  ...playerRoutes,
];
