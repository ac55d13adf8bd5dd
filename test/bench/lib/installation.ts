import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMigrator } from '#src/db/migrator.js';
import { row, rows } from '#src/db/sql.js';
import { freePort } from '#processes/dev/ports.js';
import { startPostgres } from '#processes/dev/postgresServer.js';
import { startTemporal, type EmbeddedTemporal } from '#processes/dev/temporalServer.js';
import { buildAgent, buildServer, buildUser, TEST_PASSWORD } from '#test/build.js';
import type { FakeAgent } from '#test/fakeAgent.js';
import { waitFor } from '#test/harness/waitFor.js';
import { ApiClient, textOf } from './apiClient.js';
import { compiled, makeWorkFolder, startProgram, type Program } from './processes.js';

/** The compiled programs of the control plane, and what each says once it serves. */
const PROGRAMS = {
  app: { module: 'processes/app', ready: /worker polls/ },
  api: { module: 'processes/api', ready: /api listens/ },
  worker: { module: 'processes/worker', ready: /worker polls/ },
} as const;

export type ProgramName = keyof typeof PROGRAMS;

export interface Installation {
  /** Of the API. */
  readonly url: string;
  readonly folder: string;
  readonly db: Database;
  readonly temporal: Pick<EmbeddedTemporal, 'address' | 'namespace'>;
  readonly temporalPid: () => number;
  /** Signed in as an admin; there is one once an `app` or `api` runs. */
  readonly client: ApiClient;
  start(program: ProgramName, env?: NodeJS.ProcessEnv): Promise<Program>;
  /** Ends Temporal by kill −9, as a crash would. */
  stopTemporal(): Promise<void>;
  /** Brings it back on its file and port. */
  startTemporal(): Promise<void>;
  /** Rows of an agent and of so many installed servers on it. */
  addServers(agent: FakeAgent, count: number): Promise<string[]>;
  /** Waits until each of these operations has ended, and rejects unless all of them succeeded. */
  succeeded(operationIds: readonly string[], timeoutMs?: number): Promise<void>;
  release(): Promise<void>;
}

/**
 * Postgres and Temporal on files that are synced, as `npm start` runs them, migrated; programs of the control plane
 * are started one by one. Everything of it lies in one temporary folder.
 */
export async function install(): Promise<Installation> {
  const { path: folder, release: removeFolder } = await makeWorkFolder();
  const releases: (() => unknown)[] = [removeFolder];
  const release = async (): Promise<void> => {
    for (const undo of releases.splice(0).reverse()) await undo();
  };
  try {
    return await assemble(folder, releases, release);
  } catch (error) {
    await release();
    throw error;
  }
}

async function assemble(
  folder: string,
  releases: (() => unknown)[],
  release: () => Promise<void>,
): Promise<Installation> {
  const dataDir = join(folder, 'data');
  mkdirSync(dataDir);
  const [postgres, firstTemporal] = await Promise.all([
    startPostgres({ dataDir }),
    startTemporal({ dataDir }),
  ]);
  let temporal = firstTemporal;
  releases.push(
    () => postgres.stop(),
    () => temporal.stop(),
  );
  const db = connectDatabase({ url: postgres.url, poolMax: 5, applicationName: 'bench' });
  releases.push(() => db.close());
  await createMigrator(db).up();
  await ensurePartitions(db);
  const admin = await buildUser(db, { role: 'admin' });

  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const settings = {
    PORT: String(port),
    DATABASE_URL: postgres.url,
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: temporal.namespace,
    JWT_SECRET: randomBytes(32).toString('hex'),
    AYMC_DATA_DIR: dataDir,
    AYMC_WORKFLOW_BUNDLE: compiled('workflow-bundle'),
    AYMC_STOP_SERVERS_ON_EXIT: '0',
    FAILOVER_POLICY_DEFAULT: 'never',
    RATE_LIMIT_USER_PER_MINUTE: '1000000',
    RATE_LIMIT_USER_BURST: '1000000',
  };
  let client: ApiClient | undefined;
  releases.push(() => client?.close());

  return {
    url,
    folder,
    db,
    temporal,
    temporalPid: () => temporal.pid,
    get client() {
      if (!client) throw new Error('start an app or an api first');
      return client;
    },
    async start(name, env = {}) {
      const { module, ready } = PROGRAMS[name];
      const started = await startProgram({
        args: ['--enable-source-maps', compiled(module)],
        env: { ...settings, ...env },
        cwd: folder,
        logFile: join(folder, `${name}-${randomBytes(3).toString('hex')}.log`),
        ready,
      });
      releases.push(() => started.stop());
      if (name !== 'worker') client ??= await signIn(url, admin.username);
      return started;
    },
    async stopTemporal() {
      temporal.kill();
      await temporal.exited;
    },
    async startTemporal() {
      temporal = await startTemporal({ dataDir, port: temporal.port, uiPort: temporal.uiPort });
    },
    addServers: (agent, count) => addServers(db, agent, count, admin.id),
    succeeded: (ids, timeoutMs) => succeeded(db, ids, timeoutMs),
    release,
  };
}

async function signIn(url: string, username: string): Promise<ApiClient> {
  const stranger = new ApiClient(url);
  const { body } = await stranger.send('POST', '/api/v1/auth/login', { username, password: TEST_PASSWORD });
  stranger.close();
  return new ApiClient(url, textOf(body, 'access_token'));
}

async function addServers(db: Database, agent: FakeAgent, count: number, user_id: string): Promise<string[]> {
  const { id, host, port, tls_mode } = agent.address;
  const owner = await buildAgent(db, { id, ip_address: host, port, tls_mode });
  const ids: string[] = [];
  for (let n = 0; n < count; n++) {
    const server = await buildServer(db, {
      agent_id: owner.id,
      user_id,
      port: 20_000 + n,
      failover_policy: 'never',
    });
    ids.push(server.id);
  }
  return ids;
}

const LOOK_MS = 20;

async function succeeded(db: Database, ids: readonly string[], timeoutMs = 120_000): Promise<void> {
  await waitFor(
    async () => {
      const open = await row<{ n: number }>(
        db,
        `SELECT count(*)::int AS n FROM operations WHERE id = ANY($1::uuid[]) AND state IN ('accepted', 'running')`,
        { bind: [ids] },
      );
      return open?.n === 0;
    },
    { timeoutMs, everyMs: LOOK_MS, what: `the end of ${ids.length} operations` },
  );
  const bad = await rows<object>(
    db,
    `SELECT kind, state, error_code, error_detail, superseded_by FROM operations
     WHERE id = ANY($1::uuid[]) AND state <> 'succeeded'`,
    { bind: [ids] },
  );
  if (bad.length === 0) return;
  throw new Error(
    `${bad.length} of ${ids.length} operations did not succeed, one: ${JSON.stringify(bad[0])}`,
  );
}
