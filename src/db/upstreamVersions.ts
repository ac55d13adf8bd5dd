import type { Database } from './connect.js';
import { row } from './sql.js';
import type { ServerType, UpstreamVersionsRow } from './types.js';

export interface KeptVersions extends Pick<UpstreamVersionsRow, 'versions' | 'fetched_at'> {
  /** By the database's clock, which all processes share. */
  age_ms: number;
}

const KEPT = `versions, fetched_at, (extract(epoch FROM now() - fetched_at) * 1000)::float8 AS age_ms`;

/** What the upstream of that type last said; undefined when it was never asked. */
export async function findVersions(db: Database, type: ServerType): Promise<KeptVersions | undefined> {
  return row<KeptVersions>(db, `SELECT ${KEPT} FROM upstream_versions WHERE server_type = $1`, {
    bind: [type],
  });
}

/** Keeps what it says now, in place of what it said before. */
export async function keepVersions(
  db: Database,
  type: ServerType,
  versions: UpstreamVersionsRow['versions'],
): Promise<KeptVersions | undefined> {
  return row<KeptVersions>(
    db,
    `INSERT INTO upstream_versions (server_type, versions) VALUES ($1, $2)
     ON CONFLICT (server_type) DO UPDATE SET versions = excluded.versions, fetched_at = now()
     RETURNING ${KEPT}`,
    { bind: [type, JSON.stringify(versions)] },
  );
}
