import Joi from 'joi';
import type { Database } from '#src/db/connect.js';
import { row, rows } from '#src/db/sql.js';
import type { AuditLogRow } from '#src/db/types.js';
import { AUDIT_ACTIONS, AUDIT_TARGETS, type AuditAction } from '#src/domain/audit.js';
import { anyText, named, time, uuid } from '../fields.js';
import { admins } from '../gates.js';
import { LIST_HEADERS, listQuery, pageHeaders, readPage, type Page, type PageQuery } from '../paging.js';
import { defineRoute, type Route } from '../route.js';
import { SqlFilter } from '../sql.js';

interface AuditQuery extends PageQuery {
  actor_id?: string;
  action?: AuditAction;
  target_id?: string;
  from?: string;
  to?: string;
}
const query = listQuery<AuditQuery>({
  actor_id: uuid(),
  action: Joi.string().valid(...AUDIT_ACTIONS),
  target_id: uuid(),
  from: time().description('Of that time or later'),
  to: time().description('Before that time'),
});

const auditEntry = named(
  'AuditEntry',
  Joi.object({
    id: uuid().required(),
    action: Joi.string()
      .valid(...AUDIT_ACTIONS)
      .required(),
    actor_id: uuid().allow(null).required().description('Null: nobody who was signed in'),
    actor_name: anyText().allow(null).required().description('At that time'),
    target_type: Joi.string()
      .valid(...AUDIT_TARGETS)
      .allow(null)
      .required(),
    target_id: uuid().allow(null).required(),
    request_id: anyText().allow(null).required(),
    ip_address: anyText().allow(null).required(),
    data: Joi.object().unknown().required().description('What belongs to the action; never a secret'),
    at: time().required(),
  }),
);

const list = defineRoute({
  operationId: 'listAuditEntries',
  method: 'GET',
  path: '/audit',
  tag: 'audit',
  summary: 'Who did what, newest first',
  auth: admins,
  query,
  success: { status: 200, schema: Joi.array().items(auditEntry), headers: LIST_HEADERS },
  async handler({ query: wanted, url }, { db }) {
    const page = readPage(wanted);
    const found = await listEntries(db, wanted, page);
    return {
      body: found.rows.map(({ at, ...entry }) => ({ ...entry, at: at.toISOString() })),
      headers: pageHeaders(url, page, found.total),
    };
  },
});

async function listEntries(db: Database, wanted: AuditQuery, page: Page) {
  const filter = new SqlFilter();
  filter.equals('actor_id', wanted.actor_id);
  filter.equals('action', wanted.action);
  filter.equals('target_id', wanted.target_id);
  if (wanted.from !== undefined) filter.where(`at >= ${filter.value(wanted.from)}`);
  if (wanted.to !== undefined) filter.where(`at < ${filter.value(wanted.to)}`);
  const total = await row<{ n: number }>(db, `SELECT count(*)::int AS n FROM audit_log WHERE ${filter.sql}`, {
    bind: [...filter.bind],
  });
  const found = await rows<AuditLogRow>(
    db,
    `SELECT * FROM audit_log WHERE ${filter.sql} ORDER BY at DESC, id
     LIMIT ${filter.value(page.limit)} OFFSET ${filter.value(page.offset)}`,
    { bind: filter.bind },
  );
  return { rows: found, total: total?.n ?? 0 };
}

export const auditRoutes: Route[] = [list];
