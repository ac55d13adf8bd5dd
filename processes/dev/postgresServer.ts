import { mkdirSync, readFileSync, readlinkSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { lockFile, type FileLock } from './fileLock.js';
import { isFree, LOOPBACK, pickPort } from './ports.js';
import { findPostgres } from './postgresBinaries.js';
import { accountToDropTo, createCluster, majorOf, OWNER, startOnCluster } from './postgresCluster.js';
import { endProcess, identify, type Escalation } from './processTable.js';
import { untilReady } from './readiness.js';
import { keepSecret, secretFileOf } from './secrets.js';
import { endLeftover, logFileOf, pidFileOf, type Service } from './service.js';
import { defaultCacheDir, type Say } from './tools.js';

const DEFAULT_PORT = 5432;
const READY_TIMEOUT_MS = 60_000;
const DATABASE = 'aymc_db';
const SECRET = 'postgres-password';

/** Fast shutdown, then immediate shutdown (the next start replays the log), then what the kernel offers. */
const STOP_BY: Escalation = [
  ['SIGINT', 3000],
  ['SIGQUIT', 1500],
  ['SIGKILL', 1500],
];

export interface EmbeddedPostgres extends Service {
  /** Login included. */
  readonly url: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

interface Options {
  /** Everything it keeps lies here: the cluster in `postgres/data`, its log, its password, its pid. */
  readonly dataDir: string;
  /** Must be free when given; otherwise the usual one, or a free one when that is taken. */
  readonly port?: number;
  /** False survives kill −9 but not a crash of the machine, and is quicker: for tests. */
  readonly fsync?: boolean;
  readonly cacheDir?: string;
  readonly say?: Say;
  readonly signal?: AbortSignal;
}

/**
 * Starts PostgreSQL on 127.0.0.1 (and a socket in its own folder) with a generated password, and answers once it takes
 * queries. As root it runs under another account. What a killed predecessor left is ended first; a live one is an error.
 */
export async function startPostgres(options: Options): Promise<EmbeddedPostgres> {
  const folder = join(options.dataDir, 'postgres');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = await lockFile(join(folder, 'lock'));
  if (!lock) throw new Error(`another process runs PostgreSQL on ${folder}`);
  try {
    return await startLocked(options, join(folder, 'data'), lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(options: Options, folder: string, lock: FileLock): Promise<EmbeddedPostgres> {
  const { dataDir, fsync = true, cacheDir = defaultCacheDir(), say = () => undefined, signal } = options;
  const pidFile = pidFileOf(dataDir, 'postgres');
  if (await endPredecessor(pidFile, folder)) say('Ended a PostgreSQL server that a killed predecessor left.');
  const account = accountToDropTo(folder);
  const cacheDirs = [cacheDir, join(dataDir, 'cache')];
  const binaries = await findPostgres({ major: majorOf(folder), account, cacheDirs, say, signal });
  const password = passwordFor(dataDir, folder);
  if (majorOf(folder) === undefined) {
    await createCluster({ dataDir, folder, account, binaries, password, fsync, pidFile });
  }
  signal?.throwIfAborted();
  const port = await choose(options.port);
  const logFile = logFileOf(dataDir, 'postgres');
  const program = join(binaries.folder, 'postgres');
  const service = await startOnCluster(
    { folder, account, program, args: path => ['-D', path, ...serverSettings(port, fsync)] },
    { name: 'PostgreSQL', output: logFile, pidFile, stopBy: STOP_BY, killBy: 'SIGQUIT' },
  );
  void service.exited.then(() => lock.release());
  const login = { user: OWNER, password, port };
  await untilReady(service, () => ensureDatabase(login), {
    name: 'PostgreSQL',
    timeoutMs: READY_TIMEOUT_MS,
    signal,
    logFile,
  });
  const url = `postgres://${OWNER}:${password}@${LOOPBACK}:${port}/${DATABASE}`;
  return { ...service, ...login, url, database: DATABASE };
}

function serverSettings(port: number, fsync: boolean): string[] {
  const settings = {
    listen_addresses: LOOPBACK,
    port: String(port),
    // Relative to the cluster's folder: an absolute path could exceed the 107 bytes that a socket's name may have.
    unix_socket_directories: '.',
    unix_socket_permissions: '0700',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(fsync ? {} : { fsync: 'off', full_page_writes: 'off' }),
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function choose(given: number | undefined): Promise<number> {
  if (given === undefined) return pickPort(DEFAULT_PORT);
  if (!(await isFree(given))) throw new Error(`port ${given} is taken`);
  return given;
}

function passwordFor(dataDir: string, folder: string): string {
  const file = secretFileOf(dataDir, SECRET);
  if (majorOf(folder) !== undefined && !statSync(file, { throwIfNoEntry: false })) {
    throw new Error(
      `${folder} holds data, but its password is gone from ${file}: put it back, or move the data away`,
    );
  }
  return keepSecret(dataDir, SECRET);
}

/** Makes the database where it is missing; true once it can be used. */
async function ensureDatabase(login: { user: string; password: string; port: number }): Promise<boolean> {
  const client = new pg.Client({
    ...login,
    host: LOOPBACK,
    database: 'postgres',
    connectionTimeoutMillis: 2000,
    query_timeout: 10_000,
  });
  // A server that goes away meanwhile is reported here too; the failed call has said so already.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
    return true;
  } finally {
    await client.end();
  }
}

/**
 * With the lock held, whoever still serves this cluster has lost its master. `postmaster.pid` goes only when its
 * process is gone or is something else: where nobody reaps, a killed postmaster stays a zombie for whose sake
 * PostgreSQL would refuse every start. True when something was ended.
 */
async function endPredecessor(pidFile: string, folder: string): Promise<boolean> {
  const known = await endLeftover(pidFile, STOP_BY);
  const postmasterFile = join(folder, 'postmaster.pid');
  const pid = readPid(postmasterFile);
  if (pid === undefined) return known;
  const postmaster = worksIn(pid, folder) ? identify(pid) : undefined;
  if (postmaster) await endProcess(postmaster, STOP_BY);
  rmSync(postmasterFile, { force: true });
  return known || postmaster !== undefined;
}

function readPid(file: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(file, 'utf8'), 10) || undefined;
  } catch {
    return undefined;
  }
}

/** A postmaster's working directory is its cluster. Where that can't be seen, a live pid gets the benefit of the doubt. */
function worksIn(pid: number, folder: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder);
  } catch {
    return process.platform !== 'linux';
  }
}
