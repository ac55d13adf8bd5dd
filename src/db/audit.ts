import type { Transaction } from 'sequelize';
import type { AuditAction, AuditTarget } from '#src/domain/audit.js';
import type { Database } from './connect.js';
import { rows } from './sql.js';
import type { JsonObject } from './types.js';

export interface AuditEntry {
  action: AuditAction;
  /** Null: nobody, as far as we know. The name is kept, since the record outlives the account. */
  actor: { id: string; username: string } | null;
  ip?: string;
  requestId?: string;
  target?: { type: AuditTarget; id: string };
  /** Never a secret, and nothing that someone may have typed into the wrong field. */
  data?: JsonObject;
}

export interface AppendOptions {
  /** That of the change itself wherever there is one: then neither exists without the other. */
  transaction?: Transaction;
  /** Skipped when the same was recorded within so many seconds: for what anyone can repeat at will. */
  onceInS?: number;
}

export async function appendAudit(
  db: Database,
  { action, actor, ip, requestId, target, data = {} }: AuditEntry,
  { transaction, onceInS }: AppendOptions = {},
): Promise<void> {
  await rows(
    db,
    `INSERT INTO audit_log (action, actor_id, actor_name, ip_address, request_id, target_type, target_id, data)
     SELECT $1::text, $2::uuid, $3::text, $4::text, $5::text, $6::text, $7::uuid, $8::jsonb
     WHERE $9::float8 IS NULL OR NOT EXISTS (
       SELECT FROM audit_log
       WHERE action = $1 AND actor_id IS NOT DISTINCT FROM $2 AND target_id IS NOT DISTINCT FROM $7 AND data = $8::jsonb
         AND at > now() - $9::float8 * interval '1 second')
     RETURNING id`,
    {
      bind: [
        action,
        actor?.id ?? null,
        actor?.username ?? null,
        ip ?? null,
        requestId ?? null,
        target?.type ?? null,
        target?.id ?? null,
        JSON.stringify(data),
        onceInS ?? null,
      ],
      transaction,
    },
  );
}
