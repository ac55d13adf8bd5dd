import { Context } from '@temporalio/activity';
import type { RetentionActivities } from '#src/contracts/activities.js';
import type { Database } from '#src/db/connect.js';
import { ensurePartitions, PARTITIONED_TABLES, type PartitionedTable } from '#src/db/ensurePartitions.js';
import { findOperation } from '#src/db/operationQueries.js';
import {
  deleteAgedAudit,
  deleteAgedCursors,
  deleteAgedNotifications,
  deleteAgedRows,
  deleteServerRows,
  dropPartition,
  listAgedPartitions,
  listServerPartitions,
  type Batch,
} from '#src/db/retention.js';
import { AppError } from '#src/domain/errors.js';

export interface RetentionDeps {
  db: Database;
  keep: { logsMs: number; metricsMs: number; notificationsMs: number; auditMs: number };
  /** Aborted when this process ends; what is left is done by the next attempt. */
  stopping: AbortSignal;
}

export function createRetentionActivities(deps: RetentionDeps): RetentionActivities {
  const { db, keep } = deps;
  const keepMs: Record<PartitionedTable, number> = {
    logs: keep.logsMs,
    server_metrics: keep.metricsMs,
    agent_metrics: keep.metricsMs,
  };

  function report(): void {
    if (deps.stopping.aborted) throw new AppError('shutting-down', { detail: 'Another worker goes on' });
    Context.current().heartbeat();
  }

  async function all(deleteSome: () => Promise<Batch>): Promise<number> {
    for (let deleted = 0; ;) {
      report();
      const batch = await deleteSome();
      deleted += batch.deleted;
      if (batch.isLast) return deleted;
    }
  }

  return {
    async maintainPartitions() {
      const made = await ensurePartitions(db);
      const dropped: string[] = [];
      const busy: string[] = [];
      let deleted = 0;
      for (const table of PARTITIONED_TABLES) {
        for (const partition of await listAgedPartitions(db, table, keepMs[table])) {
          report();
          const gone = await dropPartition(db, partition);
          (gone ? dropped : busy).push(partition.name);
        }
        deleted += await all(() => deleteAgedRows(db, table, keepMs[table]));
      }
      deleted += await all(() => deleteAgedCursors(db, keep.logsMs));
      deleted += await all(() => deleteAgedNotifications(db, keep.notificationsMs));
      deleted += await all(() => deleteAgedAudit(db, keep.auditMs));
      return { made, dropped, busy, deleted };
    },

    async removeServerTelemetry({ operationId }) {
      const serverId = (await findOperation(db, operationId))?.server_id;
      if (!serverId) throw new AppError('not-found', { detail: 'The operation has no server' });
      let deleted = 0;
      for (const partition of await listServerPartitions(db)) {
        deleted += await all(() => deleteServerRows(db, partition, serverId));
      }
      return { deleted };
    },
  };
}
