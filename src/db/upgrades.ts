import { AppError } from '#src/domain/errors.js';
import { hasEnded } from '#src/domain/operation.js';
import type { Database } from './connect.js';
import { lockOperation } from './endOperation.js';
import { inTransaction, row } from './sql.js';
import { SERVER_TYPES, type JsonObject, type ServerRow, type ServerType } from './types.js';

/** What a `server.upgrade` makes of a server. */
export type Software = Pick<ServerRow, 'server_type' | 'version' | 'jar_url' | 'jar_sha256'>;

/** As an operation's parameters hold it; the type is kept where none is given. */
export type UpgradeParams = Omit<Software, 'server_type'> & { server_type: ServerType | null };

/** Throws for parameters that no route of ours has accepted. */
export function softwareAfter(current: Software, params: JsonObject): Software {
  const { server_type, version, jar_url, jar_sha256 } = params;
  if (typeof version !== 'string')
    throw new AppError('internal', { detail: 'The operation names no version' });
  return {
    server_type: SERVER_TYPES.find(type => type === server_type) ?? current.server_type,
    version,
    jar_url: typeof jar_url === 'string' ? jar_url : null,
    jar_sha256: typeof jar_sha256 === 'string' ? jar_sha256 : null,
  };
}

/** Puts on record what an operation has made of its server; answers the server's id. Of one that has ended: changes nothing. */
export async function markUpgraded(db: Database, operationId: string): Promise<string> {
  return inTransaction(db, async transaction => {
    const { op, server } = await lockOperation(db, transaction, operationId);
    if (!server) throw new AppError('not-found', { detail: 'The server is gone' });
    if (hasEnded(op.state)) return server.id;
    const { server_type, version, jar_url, jar_sha256 } = softwareAfter(server, op.params);
    await row(
      db,
      `UPDATE servers SET server_type = $2, version = $3, jar_url = $4, jar_sha256 = $5, updated_at = now()
       WHERE id = $1 RETURNING id`,
      { bind: [server.id, server_type, version, jar_url, jar_sha256], transaction },
    );
    return server.id;
  });
}
