import type { Transaction } from 'sequelize';
import {
  CRASH_BUDGET,
  isServersFault,
  planRestart,
  restartsAfter,
  RETRY_START_AFTER_S,
  type RestartPlan,
} from '#src/domain/crash.js';
import type { ErrorCode } from '#src/domain/errors.js';
import { raiseAlert, type Alert } from './alerts.js';
import type { Database } from './connect.js';
import { row, rows } from './sql.js';
import type { LastCrash, OperationRow, ServerRow } from './types.js';

type LockedServer = ServerRow & { now: Date };

/**
 * A server that should run has ended by itself: counts it, plans the restart that its budget allows, and tells people.
 * Runs in the transaction that accepts the correction. Answers the ids of those who were told.
 */
export async function recordCrash(
  db: Database,
  transaction: Transaction,
  serverId: string,
  crash: LastCrash,
): Promise<string[]> {
  const server = await lockServer(db, transaction, serverId);
  if (!server) return [];
  const plan = planRestart(server, restartsAfter(server, crash.code), server.now);
  await savePlan(db, transaction, serverId, plan);
  await saveLastCrash(db, serverId, crash, transaction);
  return raiseAlert(db, crashAlert(server, plan, crash), transaction);
}

/**
 * An automatic start has failed: it is tried again, within the budget when the failure was the server's. Runs in the
 * transaction that ends the operation. Whatever was asked of the server meanwhile goes first.
 */
export async function recordFailedRestart(
  db: Database,
  transaction: Transaction,
  op: OperationRow,
  error: { code: ErrorCode; detail: string },
): Promise<string[]> {
  if (op.server_id === null || (await hasNewerWish(db, transaction, op))) return [];
  const server = await lockServer(db, transaction, op.server_id);
  if (server?.desired_state !== 'running') return [];
  if (!isServersFault(error.code)) {
    const restart_after = new Date(server.now.getTime() + RETRY_START_AFTER_S * 1000);
    await savePlan(db, transaction, server.id, { ...server, restart_after });
    return [];
  }
  const code = crashOfOperation(server, op)?.code ?? 'exit-code';
  const plan = planRestart(server, restartsAfter(server, code), server.now);
  await savePlan(db, transaction, server.id, plan);
  return raiseAlert(db, failedRestartAlert(server, plan, op, error), transaction);
}

/** Keeps what a start died of, for whoever looks. Idempotent by the run. */
export async function noteCrash(db: Database, serverId: string, crash: LastCrash): Promise<void> {
  await saveLastCrash(db, serverId, crash);
}

export interface DueRestart {
  id: string;
  op_seq: number;
}

/** Whose time has come. A server that is worked on, or whose agent is away, waits. */
const IS_DUE = `s.restart_after <= now() AND s.current_op_id IS NULL AND s.status IN ('stopped', 'error')
  AND s.desired_state = 'running'`;

export async function listDueRestarts(db: Database, limit: number): Promise<DueRestart[]> {
  return rows<DueRestart>(
    db,
    `SELECT s.id, s.op_seq FROM servers s JOIN agents a ON a.id = s.agent_id
     WHERE ${IS_DUE} AND a.status <> 'offline' ORDER BY s.restart_after LIMIT $1`,
    { bind: [limit] },
  );
}

/** For the restart's accept transaction: locks the server, and answers whether it is still due. */
export async function isStillDue(
  db: Database,
  transaction: Transaction,
  server: DueRestart,
): Promise<boolean> {
  const due = await row(
    db,
    `SELECT s.id FROM servers s WHERE s.id = $1 AND s.op_seq = $2 AND ${IS_DUE} FOR NO KEY UPDATE`,
    { bind: [server.id, server.op_seq], transaction },
  );
  return due !== undefined;
}

async function lockServer(
  db: Database,
  transaction: Transaction,
  id: string,
): Promise<LockedServer | undefined> {
  return row<LockedServer>(db, 'SELECT *, now() AS now FROM servers WHERE id = $1 FOR NO KEY UPDATE', {
    bind: [id],
    transaction,
  });
}

async function savePlan(
  db: Database,
  transaction: Transaction,
  id: string,
  plan: Omit<RestartPlan, 'isLoop'>,
): Promise<void> {
  await row(
    db,
    `UPDATE servers SET crash_count = $2, crash_window_started_at = $3, restart_after = $4 WHERE id = $1 RETURNING id`,
    { bind: [id, plan.crash_count, plan.crash_window_started_at, plan.restart_after], transaction },
  );
}

async function saveLastCrash(
  db: Database,
  id: string,
  crash: LastCrash,
  transaction?: Transaction,
): Promise<void> {
  await row(
    db,
    `UPDATE servers SET last_crash = $2::jsonb
     WHERE id = $1 AND ($3 = '' OR last_crash ->> 'run_id' IS DISTINCT FROM $3) RETURNING id`,
    { bind: [id, JSON.stringify(crash), crash.run_id], transaction },
  );
}

async function hasNewerWish(db: Database, transaction: Transaction, op: OperationRow): Promise<boolean> {
  const newer = await row(
    db,
    `SELECT id FROM operations WHERE server_id = $1 AND op_seq > $2 AND state IN ('accepted', 'running')
       AND kind IN ('server.start', 'server.restart', 'server.stop', 'server.kill', 'server.delete') LIMIT 1`,
    { bind: [op.server_id, op.op_seq], transaction },
  );
  return newer !== undefined;
}

/** The crash that made the operation fail, where a process had begun. */
function crashOfOperation(server: ServerRow, op: OperationRow): LastCrash | null {
  return server.last_crash?.run_id.startsWith(`${op.id}/`) ? server.last_crash : null;
}

function crashAlert(server: ServerRow, plan: RestartPlan, crash: LastCrash): Alert {
  const what = plan.isLoop ? 'keeps crashing' : 'crashed';
  return {
    ...alertOf(server, plan, crash),
    title: `${nameOf(server)} ${what}`,
    body: `${crash.detail}\n${nextOf(server, plan)}`,
    occasion: crash.run_id || crash.at,
  };
}

function failedRestartAlert(
  server: ServerRow,
  plan: RestartPlan,
  op: OperationRow,
  error: { code: ErrorCode; detail: string },
): Alert {
  const what = plan.isLoop ? 'keeps failing to start' : 'could not be started again';
  const alert = alertOf(server, plan, crashOfOperation(server, op));
  return {
    ...alert,
    title: `${nameOf(server)} ${what}`,
    body: `${error.detail}\n${nextOf(server, plan)}`,
    data: { ...alert.data, operation_id: op.id, error },
    occasion: op.id,
  };
}

function alertOf(
  server: ServerRow,
  plan: RestartPlan,
  crash: LastCrash | null,
): Pick<Alert, 'code' | 'severity' | 'server_id' | 'data'> {
  return {
    code: plan.isLoop ? 'crash-loop' : 'crash',
    severity: plan.isLoop ? 'critical' : 'warning',
    server_id: server.id,
    data: {
      crash: crash && { ...crash },
      crashes: plan.crash_count,
      restart_after: plan.restart_after?.toISOString() ?? null,
    },
  };
}

function nameOf(server: ServerRow): string {
  return server.display_name ?? server.name;
}

function nextOf({ installed }: ServerRow, { restart_after, crash_count, isLoop }: RestartPlan): string {
  if (!installed) return 'It stays down: its agent has not what it needs to start. Install it again.';
  if (isLoop) return `It stays down after ${crash_count} crashes, until someone starts it.`;
  if (restart_after === null) return 'It stays down until someone starts it.';
  return `It is started again (${crash_count} of ${CRASH_BUDGET}).`;
}
