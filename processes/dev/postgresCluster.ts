import {
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PostgresBinaries } from './postgresBinaries.js';
import { describeExit, logFileOf, startService, type Service, type ServiceSpec } from './service.js';
import { canReach, type Account } from './tools.js';

/** The role that owns everything in an embedded cluster. */
export const OWNER = 'aymc';

/** The same everywhere, so that messages and sorting don't depend on the machine. */
const ENVIRONMENT = { LC_ALL: 'C', TZ: 'UTC' };
const INITDB_TIMEOUT_MS = 120_000;

/** The major release that made the cluster in `folder`; undefined when there is none yet. */
export function majorOf(folder: string): number | undefined {
  try {
    return Number(readFileSync(join(folder, 'PG_VERSION'), 'utf8'));
  } catch {
    return undefined;
  }
}

/** PostgreSQL refuses to run as root. Then: whoever owns the cluster already, else `postgres`, else `nobody`. */
export function accountToDropTo(folder: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const owner = statSync(folder, { throwIfNoEntry: false });
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map(line => line.split(':'));
  for (const wanted of ['postgres', 'nobody']) {
    const entry = accounts.find(([name]) => name === wanted);
    if (entry) return { uid: Number(entry[2]), gid: Number(entry[3]) };
  }
  throw new Error("PostgreSQL can't run as root, and there is no account postgres or nobody to run it as");
}

interface ClusterProgram {
  readonly folder: string;
  readonly account: Account | undefined;
  readonly program: string;
  /** Its arguments, given what to call the cluster's folder. */
  readonly args: (path: string) => readonly string[];
}

/**
 * Runs one of PostgreSQL's programs on a cluster. Dropped from root, it gets the folder as an open descriptor and a
 * path through that: our data dir is closed to other accounts (0700, and often below /root), and stays so.
 */
export async function startOnCluster(
  { folder, account, program, args }: ClusterProgram,
  spec: Omit<ServiceSpec, 'command' | 'args' | 'env' | 'cwd' | 'files' | 'uid' | 'gid'>,
): Promise<Service> {
  const common = { ...spec, command: program, env: ENVIRONMENT, cwd: '/' };
  if (account === undefined) return startService({ ...common, args: args(folder) });
  if (process.platform !== 'linux') {
    if (!canReach(folder, account))
      throw new Error(`PostgreSQL can't run as root on ${folder}; use an ordinary account`);
    return startService({ ...common, ...account, args: args(folder) });
  }
  const descriptor = openSync(folder, 'r');
  try {
    return await startService({ ...common, ...account, args: args('/proc/self/fd/3'), files: [descriptor] });
  } finally {
    closeSync(descriptor);
  }
}

interface NewCluster {
  readonly dataDir: string;
  readonly folder: string;
  readonly account: Account | undefined;
  readonly binaries: PostgresBinaries;
  readonly password: string;
  readonly fsync: boolean;
  readonly pidFile: string;
}

/** Made beside and renamed when complete, so that a start that was cut off leaves no half cluster. */
export async function createCluster(cluster: NewCluster): Promise<void> {
  const { dataDir, folder, account, binaries, password, fsync, pidFile } = cluster;
  const draft = `${folder}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  const passwordFile = join(tmpdir(), `aymc-initdb-${process.pid}-${Date.now()}`);
  writeFileSync(passwordFile, password, { mode: 0o600, flag: 'wx' });
  try {
    if (account) for (const path of [draft, passwordFile]) chownSync(path, account.uid, account.gid);
    const program = join(binaries.folder, 'initdb');
    const args = (path: string) => [
      `--pgdata=${path}`,
      `--username=${OWNER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
      ...(fsync ? [] : ['--no-sync']),
    ];
    const output = logFileOf(dataDir, 'initdb');
    const initdb = await startOnCluster(
      { folder: draft, account, program, args },
      { name: 'initdb', output, pidFile, stopBy: [['SIGKILL', 5000]] },
    );
    const timer = setTimeout(() => initdb.kill(), INITDB_TIMEOUT_MS);
    const exit = await initdb.exited;
    clearTimeout(timer);
    if (exit.code !== 0) throw new Error(`initdb failed (${describeExit(exit)}); see ${output}`);
    renameSync(draft, folder);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}
