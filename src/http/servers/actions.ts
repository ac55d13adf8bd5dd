import { isDeepStrictEqual } from 'node:util';
import type { Transaction } from 'sequelize';
import type { OperationView } from '#src/contracts/operation.js';
import type { Database } from '#src/db/connect.js';
import { row } from '#src/db/sql.js';
import { softwareAfter, type Software, type UpgradeParams } from '#src/db/upgrades.js';
import type { ErrorCode } from '#src/domain/errors.js';
import type { OperationKind } from '#src/domain/operation.js';
import type { ServerAction } from '#src/domain/permissions.js';
import type { Identity } from '#src/security/identities.js';
import { assertFetchable } from '#src/security/publicUrl.js';
import type { Api } from '../deps.js';
import { idParams } from '../fields.js';
import { accepted, OPERATION_HEADERS } from '../operations/presenter.js';
import * as operationSchema from '../operations/schema.js';
import { invalidField } from '../parse.js';
import { defineRoute, type Reply, type Route, type RouteRequest } from '../route.js';
import { onServer, onServerOrGone } from './policy.js';
import { assertStartable } from './queries.js';
import { stopQuery, upgrade as upgradeBody } from './schema.js';
import { upgradeParams } from './settings.js';

const success = { status: 202, schema: operationSchema.operation, headers: OPERATION_HEADERS } as const;
const REFUSALS: ErrorCode[] = ['queue-full', 'server-deleting', 'needs-operator'];

type Check = (db: Database, serverId: string, transaction: Transaction) => Promise<void>;

interface ActionRequest extends RouteRequest<{ id: string }, { force?: boolean }, unknown> {
  actor: Identity;
}

/** Accepts an operation on the server of the path. `check` runs in the accept transaction, so a repeat never meets it. */
async function accept(
  kind: OperationKind,
  request: ActionRequest,
  { db, operations }: Api,
  { check, ...asked }: { check?: Check; params?: Record<string, unknown> } = {},
): Promise<Reply<OperationView>> {
  const { params, query, actor, idempotencyKey, requestId } = request;
  const { operation } = await operations.request({
    kind,
    serverId: params.id,
    requestedBy: actor.id,
    trigger: 'user',
    requestId,
    ...asked,
    ...(query.force !== undefined && { force: query.force }),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
    ...(check && { prepare: transaction => check(db, params.id, transaction) }),
  });
  return accepted(operation);
}

interface ActionRoute {
  verb: string;
  kind: OperationKind;
  action: ServerAction;
  summary: string;
  description: string;
  check?: Check;
  errors?: ErrorCode[];
}

function actionRoute({ verb, kind, action, summary, description, check, errors = [] }: ActionRoute): Route {
  return defineRoute({
    operationId: `${verb}Server`,
    method: 'POST',
    path: `/servers/:id/${verb}`,
    tag: 'servers',
    summary,
    description,
    auth: onServer(action),
    params: idParams,
    idempotent: true,
    success,
    errors: [...REFUSALS, ...errors],
    handler: (request, api) => accept(kind, { ...request, query: {} }, api, check && { check }),
  });
}

const STARTING = { check: assertStartable, errors: ['not-installed', 'eula-not-accepted'] as ErrorCode[] };

const start = actionRoute({
  verb: 'start',
  kind: 'server.start',
  action: 'power',
  summary: 'Start a server',
  description: 'The operation ends when the server is ready for players; at once when it already runs.',
  ...STARTING,
});

const stop = defineRoute({
  operationId: 'stopServer',
  method: 'POST',
  path: '/servers/:id/stop',
  tag: 'servers',
  summary: 'Stop a server',
  description: 'By its console, then by signals. A start that is under way is cancelled.',
  auth: onServer('power'),
  params: idParams,
  query: stopQuery,
  idempotent: true,
  success,
  errors: REFUSALS,
  handler: (request, api) => accept('server.stop', request, api),
});

const restart = actionRoute({
  verb: 'restart',
  kind: 'server.restart',
  action: 'power',
  summary: 'Stop a server and start it again',
  description: 'A server that does not run is started.',
  ...STARTING,
});

const kill = actionRoute({
  verb: 'kill',
  kind: 'server.kill',
  action: 'power',
  summary: 'End a server’s process at once',
  description: 'SIGKILL, without saving. Waits for no other operation.',
});

const provision = actionRoute({
  verb: 'provision',
  kind: 'server.provision',
  action: 'settings',
  summary: 'Install a server, again',
  description:
    'Creating a server does this by itself; ask again after it failed. What is already there is kept.',
});

const upgrade = defineRoute({
  operationId: 'upgradeServer',
  method: 'POST',
  path: '/servers/:id/upgrade',
  tag: 'servers',
  summary: 'Give a server another version or type, newer or older',
  description:
    'Got ready beside the server while it runs. Then it is stopped, its folder is copied, and the new one is started: a stopped server, too, to see that it can. Where that does not become ready, or the operation is cancelled, the folder is put back as it was and the server started again if it shall run. A world that a newer version has opened may not open in an older one.',
  auth: onServer('settings'),
  params: idParams,
  body: upgradeBody,
  idempotent: true,
  success,
  errors: [...REFUSALS, ...STARTING.errors, 'private-address'],
  async handler({ body, ...request }, api) {
    const { allowPrivateUrls: allowPrivate } = api.settings.servers;
    const params = upgradeParams(body);
    if (params.jar_url !== null) await assertFetchable(params.jar_url, { allowPrivate });
    const check: Check = async (db, serverId, transaction) => {
      await assertStartable(db, serverId, transaction);
      await assertOther(db, serverId, params, transaction);
    };
    return accept('server.upgrade', { ...request, query: {}, body }, api, { check, params: { ...params } });
  },
});

const remove = defineRoute({
  operationId: 'deleteServer',
  method: 'DELETE',
  path: '/servers/:id',
  tag: 'servers',
  summary: 'Stop and delete a server, with all its files',
  auth: onServerOrGone('own'),
  params: idParams,
  idempotent: true,
  success,
  errors: ['queue-full', 'needs-operator'],
  handler: (request, api) => accept('server.delete', { ...request, query: {} }, api),
});

export const serverActionRoutes: Route[] = [start, stop, restart, kill, provision, upgrade, remove];

/** Rejects with `invalid-request` what is on record already: to install that anew is a provision. */
async function assertOther(
  db: Database,
  serverId: string,
  params: UpgradeParams,
  transaction: Transaction,
): Promise<void> {
  const current = await row<Software>(
    db,
    'SELECT server_type, version, jar_url, jar_sha256 FROM servers WHERE id = $1',
    { bind: [serverId], transaction },
  );
  if (current && isDeepStrictEqual(current, softwareAfter(current, { ...params })))
    throw invalidField('body.version', 'the server has that type and version');
}
