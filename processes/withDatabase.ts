import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, loadConfig, type Config } from '#src/config.js';
import { connectDatabase, type ConnectOptions, type Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';

/**
 * What a command for people at a terminal does around its work: reads the settings, opens the configured database (or,
 * without one, the embedded one of a running `npm start` on the same data directory), closes it, and tells an expected
 * failure in one line instead of a stack trace.
 */
export async function withDatabase(
  options: Omit<ConnectOptions, 'url' | 'poolMax'>,
  work: (db: Database, config: Config) => Promise<void>,
): Promise<void> {
  try {
    const config = loadConfig(process.env, { cwd: process.cwd() });
    const url = config.database.url ?? (await embeddedUrl(config.runtime.dataDir));
    const db = connectDatabase({ ...options, url, poolMax: config.database.poolMax });
    try {
      await work(db, config);
    } finally {
      await db.close();
    }
  } catch (error) {
    if (!(error instanceof AppError || error instanceof ConfigError)) throw error;
    const cause = error.cause instanceof Error ? ` (${error.cause.message})` : '';
    console.error(`${error.message}${cause}`);
    process.exitCode = 1;
  }
}

async function embeddedUrl(dataDir: string): Promise<string> {
  try {
    const url = postgresUrl(JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')));
    if (url !== undefined) return url;
  } catch {
    // No such file: nothing runs, or it has never run. The error below says what to do.
  }
  throw new AppError('database-unavailable', {
    detail: 'Set DATABASE_URL or DB_HOST, or let `npm start` run on this data directory meanwhile',
  });
}

function postgresUrl(runtime: unknown): string | undefined {
  if (typeof runtime !== 'object' || runtime === null || !('postgres' in runtime)) return undefined;
  const { postgres } = runtime;
  if (typeof postgres !== 'object' || postgres === null || !('url' in postgres)) return undefined;
  return typeof postgres.url === 'string' ? postgres.url : undefined;
}
