import { listOperationEvents, listOperations } from '#src/db/operationQueries.js';
import { idParams } from '../fields.js';
import { admins, signedIn } from '../gates.js';
import { LIST_HEADERS, pageHeaders, readPage } from '../paging.js';
import { defineRoute, type Route } from '../route.js';
import { onOperation, onOwnOperation } from './policy.js';
import { accepted, OPERATION_HEADERS } from './presenter.js';
import * as schema from './schema.js';

const tag = 'operations';

const list = defineRoute({
  operationId: 'listOperations',
  method: 'GET',
  path: '/operations',
  tag,
  summary: 'Operations that I may see, newest first',
  auth: signedIn,
  query: schema.list,
  success: { status: 200, schema: schema.operations, headers: LIST_HEADERS },
  async handler({ actor, query, url }, { db }) {
    const page = readPage(query);
    const found = await listOperations(
      db,
      {
        visibleTo: actor.role === 'admin' ? 'all' : { userId: actor.id },
        ...(query.server_id !== undefined && { serverId: query.server_id }),
        ...(query.kind !== undefined && { kind: query.kind }),
        ...(query.state !== undefined && { state: query.state }),
      },
      page,
    );
    return { body: found.rows, headers: pageHeaders(url, page, found.total) };
  },
});

const get = defineRoute({
  operationId: 'readOperation',
  method: 'GET',
  path: '/operations/:id',
  tag,
  summary: 'One operation',
  auth: onOperation,
  params: idParams,
  success: { status: 200, schema: schema.operation },
  handler: ({ operation }) => ({ body: operation }),
});

const events = defineRoute({
  operationId: 'listOperationEvents',
  method: 'GET',
  path: '/operations/:id/events',
  tag,
  summary: 'What has happened to an operation, in order',
  auth: onOperation,
  params: idParams,
  query: schema.eventsQuery,
  success: {
    status: 200,
    schema: schema.events,
    headers: { Link: '`rel="next"` when there may be more' },
  },
  async handler({ operation, query, url }, { db }) {
    const found = await listOperationEvents(db, operation.id, query.after_seq, query.limit);
    const last = found.at(-1);
    if (!last || found.length < query.limit) return { body: found };
    const next = new URLSearchParams({ after_seq: String(last.seq), limit: String(query.limit) });
    return { body: found, headers: { Link: `<${url.path}?${next.toString()}>; rel="next"` } };
  },
});

const cancel = defineRoute({
  operationId: 'cancelOperation',
  method: 'POST',
  path: '/operations/:id/cancel',
  tag,
  summary: 'Ask for an operation to end and be undone',
  description:
    'Answers at once; the operation ends `cancelled` when what it had done is undone. Asking again changes nothing.',
  auth: onOwnOperation,
  params: idParams,
  success: { status: 202, schema: schema.operation, headers: OPERATION_HEADERS },
  errors: ['operation-finished', 'not-cancellable'],
  async handler({ actor, operation, requestId }, { operations }) {
    return accepted(await operations.cancel(operation.id, { userId: actor.id, requestId }));
  },
});

const resolve = defineRoute({
  operationId: 'resolveOperation',
  method: 'POST',
  path: '/operations/:id/resolve',
  tag,
  summary: 'Decide about an operation that waits for an operator',
  auth: admins,
  params: idParams,
  body: schema.resolution,
  success: { status: 202, schema: schema.operation, headers: OPERATION_HEADERS },
  errors: ['not-found', 'not-resting', 'temporal-unavailable'],
  async handler({ actor, params, body }, { operations }) {
    return accepted(await operations.resolve(params.id, { ...body, by: actor.username }));
  },
});

export const operationRoutes: Route[] = [list, get, events, cancel, resolve];
