import type { Transaction } from 'sequelize';
import type {
  OperationEventData,
  OperationEventType,
  OperationEventView,
  OperationView,
} from '#src/contracts/operation.js';
import { isErrorCode } from '#src/domain/errors.js';
import type { OperationKind, OperationState } from '#src/domain/operation.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { OperationRow } from './types.js';

export interface OperationFilter {
  /** Operations of servers that this user owns or is a member of, and those that they asked for themselves. */
  visibleTo?: { userId: string } | 'all';
  serverId?: string;
  kind?: OperationKind;
  state?: OperationState;
}

interface EventRow {
  op_id: string;
  seq: number;
  server_id: string | null;
  server_seq: number | null;
  type: OperationEventType;
  data: OperationEventData;
  at: Date;
}

/** How an operation's row is shown to anyone outside. */
export function viewOperation(op: OperationRow): OperationView {
  return {
    id: op.id,
    kind: op.kind,
    state: op.state,
    server_id: op.server_id,
    agent_id: op.agent_id,
    requested_by: op.requested_by,
    trigger: op.trigger,
    progress: op.progress,
    error: isErrorCode(op.error_code) ? { code: op.error_code, detail: op.error_detail ?? '' } : null,
    superseded_by: op.superseded_by,
    cancel_requested_at: op.finished_at ? null : (op.cancel_requested_at?.toISOString() ?? null),
    workflow_id: op.workflow_id ?? '',
    run_id: op.run_id,
    created_at: op.created_at.toISOString(),
    started_at: op.started_at?.toISOString() ?? null,
    finished_at: op.finished_at?.toISOString() ?? null,
  };
}

function viewEvent(event: EventRow): OperationEventView {
  return {
    operation_id: event.op_id,
    seq: event.seq,
    server_id: event.server_id,
    server_seq: event.server_seq,
    type: event.type,
    data: event.data,
    at: event.at.toISOString(),
  };
}

export async function findOperation(
  db: Database,
  id: string,
  transaction?: Transaction,
): Promise<OperationView | null> {
  const found = await row<OperationRow>(db, 'SELECT * FROM operations WHERE id = $1', {
    bind: [id],
    transaction,
  });
  return found ? viewOperation(found) : null;
}

export async function findOperations(
  db: Database,
  ids: readonly string[],
): Promise<Map<string, OperationView>> {
  const found = await rows<OperationRow>(db, 'SELECT * FROM operations WHERE id = ANY($1::uuid[])', {
    bind: [ids],
  });
  return new Map(found.map(op => [op.id, viewOperation(op)]));
}

/** Newest first; `total` counts all that match the filter. */
export async function listOperations(
  db: Database,
  filter: OperationFilter,
  page: { limit: number; offset: number },
): Promise<{ rows: OperationView[]; total: number }> {
  const bind: unknown[] = [];
  const where: string[] = ['true'];
  const equals = (column: string, value: string | undefined) => {
    if (value !== undefined) where.push(`o.${column} = $${bind.push(value)}`);
  };
  equals('server_id', filter.serverId);
  equals('kind', filter.kind);
  equals('state', filter.state);
  if (filter.visibleTo !== undefined && filter.visibleTo !== 'all') {
    const user = `$${bind.push(filter.visibleTo.userId)}::uuid`;
    where.push(`(o.requested_by = ${user}
      OR EXISTS (SELECT 1 FROM servers s WHERE s.id = o.server_id AND s.user_id = ${user})
      OR EXISTS (SELECT 1 FROM server_members m WHERE m.server_id = o.server_id AND m.user_id = ${user}))`);
  }
  const condition = where.join(' AND ');
  const total = await row<{ n: number }>(
    db,
    `SELECT count(*)::int AS n FROM operations o WHERE ${condition}`,
    { bind },
  );
  const limit = `LIMIT $${bind.length + 1} OFFSET $${bind.length + 2}`;
  const found = await rows<OperationRow>(
    db,
    `SELECT o.* FROM operations o WHERE ${condition} ORDER BY o.created_at DESC, o.id ${limit}`,
    { bind: [...bind, page.limit, page.offset] },
  );
  return { rows: found.map(viewOperation), total: total?.n ?? 0 };
}

/** In order of `seq`. */
export async function listOperationEvents(
  db: Database,
  operationId: string,
  afterSeq: number,
  limit: number,
): Promise<OperationEventView[]> {
  const found = await rows<EventRow>(
    db,
    'SELECT * FROM operation_events WHERE op_id = $1 AND seq > $2 ORDER BY seq LIMIT $3',
    { bind: [operationId, afterSeq, limit] },
  );
  return found.map(viewEvent);
}

/** Of all operations of a server, in order of `server_seq`. */
export async function listServerEvents(
  db: Database,
  serverId: string,
  afterServerSeq: number,
  limit: number,
): Promise<OperationEventView[]> {
  return eventsOfServer(db, serverId, afterServerSeq, limit, '');
}

/** As listServerEvents, but only those that moved the server's status. */
export async function listServerStatusEvents(
  db: Database,
  serverId: string,
  afterServerSeq: number,
  limit: number,
): Promise<OperationEventView[]> {
  return eventsOfServer(db, serverId, afterServerSeq, limit, `AND type = 'status_changed'`);
}

async function eventsOfServer(db: Database, serverId: string, after: number, limit: number, and: string) {
  const found = await rows<EventRow>(
    db,
    `SELECT * FROM operation_events WHERE server_id = $1 AND server_seq > $2 ${and} ORDER BY server_seq LIMIT $3`,
    { bind: [serverId, after, limit] },
  );
  return found.map(viewEvent);
}
