import { setTimeout as sleep } from 'node:timers/promises';
import { rows } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import type { Operations } from '#src/operations/operations.js';
import type { Core } from './core.js';

/** Until then the servers have stopped, or are left to their guards. */
const BUDGET_MS = 45_000;
const LOOK_MS = 200;

/**
 * The end of `npm start` is an operator's wish: every server that runs is stopped by an operation like any other.
 * Stops waiting at the budget or when `signal` aborts.
 */
export async function stopAllServers(core: Core, operations: Operations, signal: AbortSignal): Promise<void> {
  const { db, logger } = core;
  const alive = await rows<{ id: string }>(
    db,
    `SELECT id FROM servers WHERE status NOT IN ('stopped', 'error') OR desired_state = 'running' OR current_op_id IS NOT NULL`,
  );
  if (alive.length === 0) return;
  logger.info({ servers: alive.length }, 'stopping the Minecraft servers');
  for (const { id } of alive) {
    try {
      await operations.request({
        kind: 'server.stop',
        serverId: id,
        requestedBy: null,
        trigger: 'user',
        reason: 'AYMC is being stopped',
      });
    } catch (error) {
      // Being deleted, which stops it too, or waiting for an operator.
      if (!(error instanceof AppError)) throw error;
    }
  }
  const ids = alive.map(({ id }) => id);
  const deadline = performance.now() + BUDGET_MS;
  while (!signal.aborted && performance.now() < deadline) {
    if (!(await anyUnderWay(core, ids))) return;
    await sleep(LOOK_MS);
  }
  logger.warn('some servers have not stopped in time; they stay with their guards');
}

async function anyUnderWay({ db }: Core, serverIds: readonly string[]): Promise<boolean> {
  const found = await rows(
    db,
    `SELECT 1 FROM servers s JOIN operations o ON o.id = s.current_op_id
     WHERE s.id = ANY($1::uuid[]) AND o.state IN ('accepted', 'running') LIMIT 1`,
    { bind: [serverIds] },
  );
  return found.length > 0;
}

/**
 * Starts what its owner wants up whenever AYMC is, once for each `npm start`: an api and worker that were restarted
 * midway must not start what someone has stopped since.
 */
export async function startAutoStartServers(
  { config, db, logger }: Core,
  operations: Operations,
): Promise<void> {
  const { startId } = config.dev;
  if (startId === undefined) return;
  const waiting = await rows<{ id: string }>(
    db,
    `SELECT id FROM servers WHERE auto_start AND installed AND accept_eula AND status IN ('stopped', 'error')
       AND current_op_id IS NULL`,
  );
  for (const { id } of waiting) {
    try {
      await operations.request({
        kind: 'server.start',
        serverId: id,
        requestedBy: null,
        trigger: 'reconcile',
        desiredState: 'running',
        idempotencyKey: `auto-start:${startId}:${id}`,
        reason: 'It is set to start with AYMC',
      });
    } catch (error) {
      logger.warn({ err: error, server: id }, 'auto-start was refused');
    }
  }
}
