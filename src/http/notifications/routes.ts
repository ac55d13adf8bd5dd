import Joi from 'joi';
import { viewNotification } from '#src/db/alerts.js';
import { row } from '#src/db/sql.js';
import type { NotificationRow } from '#src/db/types.js';
import { SEVERITIES, type Severity } from '#src/domain/alert.js';
import { AppError } from '#src/domain/errors.js';
import { anyText, idParams, integer, named, time, uuid } from '../fields.js';
import { inPerson, signedIn } from '../gates.js';
import { LIST_HEADERS, listQuery, pageHeaders, readPage, type PageQuery } from '../paging.js';
import { defineRoute, type Route } from '../route.js';
import { listNotifications, markRead } from './queries.js';

const tag = 'notifications';

export interface NotificationQuery extends PageQuery {
  unread?: boolean;
  type?: string;
  severity?: Severity;
  server_id?: string;
}
const query = listQuery<NotificationQuery>({
  unread: Joi.boolean().description('True: what was not read yet; false: what was'),
  type: Joi.string().max(50).example('alert'),
  severity: Joi.string().valid(...SEVERITIES),
  server_id: uuid(),
});

const notification = named(
  'Notification',
  Joi.object({
    id: uuid().required(),
    seq: Joi.number().integer().required().description('Counts up within my notifications'),
    type: Joi.string().required().description('`alert`: `data.code` says of what kind'),
    severity: Joi.string()
      .valid(...SEVERITIES)
      .required(),
    title: anyText().required(),
    body: anyText().required(),
    data: Joi.object().unknown().required(),
    server_id: uuid().allow(null).required(),
    read_at: time().allow(null).required(),
    created_at: time().required(),
  }),
);

const list = defineRoute({
  operationId: 'listMyNotifications',
  method: 'GET',
  path: '/notifications',
  tag,
  summary: 'What I was told, newest first',
  auth: signedIn,
  query,
  success: { status: 200, schema: Joi.array().items(notification), headers: LIST_HEADERS },
  async handler({ actor, query: wanted, url }, { db }) {
    const page = readPage(wanted);
    const found = await listNotifications(db, actor.id, wanted, page);
    return { body: found.rows.map(present), headers: pageHeaders(url, page, found.total) };
  },
});

const readAll = defineRoute({
  operationId: 'readNotifications',
  method: 'POST',
  path: '/notifications/read',
  tag,
  summary: 'I have read everything up to this one',
  auth: inPerson,
  body: Joi.object<{ up_to_seq: number }, true>({ up_to_seq: integer().min(0).required() }),
  success: { status: 200, schema: Joi.object({ read: Joi.number().integer().required() }) },
  async handler({ actor, body }, { db }) {
    return { body: { read: await markRead(db, actor.id, body.up_to_seq) } };
  },
});

const readOne = defineRoute({
  operationId: 'readNotification',
  method: 'POST',
  path: '/notifications/:id/read',
  tag,
  summary: 'I have read this one',
  auth: inPerson,
  params: idParams,
  success: { status: 200, schema: notification },
  errors: ['not-found'],
  async handler({ actor, params }, { db }) {
    const told = await row<NotificationRow>(
      db,
      'UPDATE notifications SET read_at = coalesce(read_at, now()) WHERE id = $1 AND user_id = $2 RETURNING *',
      { bind: [params.id, actor.id] },
    );
    if (!told) throw new AppError('not-found', { detail: 'You have no such notification' });
    return { body: present(told) };
  },
});

function present(told: NotificationRow) {
  return { ...viewNotification(told), seq: told.seq };
}

export const notificationRoutes: Route[] = [list, readAll, readOne];
