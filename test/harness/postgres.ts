import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EmbeddedPostgres } from '../../processes/dev/postgresServer.js';

interface OwnServer {
  postgres: EmbeddedPostgres;
  dataDir: string;
}

let own: Promise<OwnServer> | undefined;

/**
 * A server on which tests may make and drop databases: TEST_DATABASE_URL, which a whole run shares, or (a single file
 * started by hand) an own one, started at the first call and gone with this process.
 */
export async function testServerUrl(): Promise<string> {
  const given = process.env['TEST_DATABASE_URL'];
  if (given) return given;
  own ??= startServer();
  return (await own).postgres.url;
}

async function startServer(): Promise<OwnServer> {
  const { startPostgres } = await import('../../processes/dev/postgresServer.js');
  const dataDir = await mkdtemp(join(tmpdir(), 'aymc-test-postgres-'));
  const postgres = await startPostgres({ dataDir, fsync: false });
  // For an end that runs no hooks, such as Ctrl-C; after the hook below there is nothing left to kill.
  process.once('exit', () => postgres.kill());
  return { postgres, dataDir };
}

/** Stops the server if there is an own one. Under mocha the hook below calls it; a script must do so itself. */
export async function stopTestServer(): Promise<void> {
  const server = await own?.catch(() => undefined);
  own = undefined;
  if (!server) return;
  await server.postgres.stop();
  await rm(server.dataDir, { recursive: true, force: true });
}

/** Mocha's own hooks, around all files: initdb takes longer than a test may. */
const START_TIMEOUT_MS = 120_000;
if (typeof before === 'function') {
  before('start the test database server', async function () {
    this.timeout(START_TIMEOUT_MS);
    await testServerUrl();
  });
  after('stop the test database server', async function () {
    this.timeout(START_TIMEOUT_MS);
    await stopTestServer();
  });
}
