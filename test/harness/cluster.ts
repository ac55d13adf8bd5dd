import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMigrator } from '#src/db/migrator.js';
import { freePort } from '#processes/dev/ports.js';
import { startPostgres } from '#processes/dev/postgresServer.js';
import { startTemporal } from '#processes/dev/temporalServer.js';
import { buildUser, TEST_PASSWORD } from '../build.js';
import { startAgentProcess, type AgentProcess } from './agentProcess.js';
import { ClusterUser, sendRequest, textOf } from './clusterUser.js';
import { createTestDatabase } from './database.js';
import { requireJdk } from './java.js';
import { minecraftJavaMajor } from './minecraftJar.js';
import { Oracle } from './oracle.js';
import { inheritedEnvironment, Part, startProgram, type Target } from './processes.js';
import { createTestNamespace } from './temporal.js';
import { waitFor } from './waitFor.js';

export interface ClusterOptions {
  /** Default 1. */
  agents?: number;
  /** api and workers as processes of their own; otherwise both in one, as `npm start` runs them. */
  split?: boolean;
  /** A second worker, of a split cluster, that is down until it is restarted. */
  spareWorker?: boolean;
  /** Postgres and Temporal for this cluster alone, so that they can be killed; otherwise those of the whole run. */
  ownEngines?: boolean;
  /** Further settings of the control plane. */
  env?: NodeJS.ProcessEnv;
  /** Further settings of every agent. */
  agentEnv?: NodeJS.ProcessEnv;
}

export interface ClusterAgent {
  /** Of its row. */
  id: string;
  process: AgentProcess;
}

export interface Cluster {
  /** Of the API. */
  url: string;
  databaseUrl: string;
  db: Database;
  temporal: { address: string; namespace: string };
  oracle: Oracle;
  /** The first agent, the only one unless more were asked for. */
  agent: ClusterAgent;
  agents: ClusterAgent[];
  admin: ClusterUser;
  /** `api`, `worker` (and `worker-2`) or `app`; with own engines `postgres` and `temporal`; `agent` (`agent-2` …). */
  part(name: string): Target;
  /** The end of every part's log, for the message of a failure. */
  logTails(): Promise<string>;
  /** Ends all of it, the Minecraft servers included, and removes its folders. */
  stop(): Promise<void>;
}

/** Enough for a test, and fast: what takes 30 s in an installation takes one or two here. */
const TEST_PACE = { HEALTH_INTERVAL: '1s', RECONCILE_INTERVAL: '2s' };
const AGENT_ONLINE_MS = 30_000;
const TAIL_LINES = 15;

/**
 * The product as it is run: every part a process of its own, from the sources, with real agents. Whoever starts it
 * plays the supervisor: `restart` after a `kill`.
 */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-cluster-'));
  const releases: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const release of releases.splice(0).toReversed()) await release();
  };
  try {
    return await assemble({ folder, options, releases, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Assembly {
  folder: string;
  options: ClusterOptions;
  /** Run from the last to the first. */
  releases: (() => Promise<unknown>)[];
  stop: () => Promise<void>;
}

async function assemble(assembly: Assembly): Promise<Cluster> {
  const { folder, options, releases, stop } = assembly;
  const parts = new Map<string, Target>();
  const add = (part: Part) => {
    parts.set(part.name, part);
    releases.push(() => part.stop());
    return part;
  };
  const [bundle, jdk, engines] = await Promise.all([
    bundleOnce(),
    requireJdk(minecraftJavaMajor),
    options.ownEngines ? startEngines(assembly, add) : borrowEngines(releases),
  ]);
  const { databaseUrl, db, temporal } = engines;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env: NodeJS.ProcessEnv = {
    ENV: 'test',
    LOG_LEVEL: 'info',
    PORT: String(port),
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: temporal.namespace,
    JWT_SECRET: randomBytes(32).toString('hex'),
    AYMC_DATA_DIR: folder,
    AYMC_WORKFLOW_BUNDLE: bundle,
    AYMC_STOP_SERVERS_ON_EXIT: '0',
    FAILOVER_POLICY_DEFAULT: 'never',
    RATE_LIMIT_USER_PER_MINUTE: '1000000',
    RATE_LIMIT_USER_BURST: '1000000',
    ...TEST_PACE,
    ...options.env,
  };
  await Promise.all(programsOf(options).map(program => add(createPart(folder, env, program)).start()));
  if (options.spareWorker) add(createPart(folder, env, { ...WORKER, name: 'worker-2' }));

  const admin = await signInAdmin(url, db);
  const oracle = new Oracle(join(folder, 'oracle.jsonl'));
  releases.push(() => oracle.stop());
  const agents = await addAgents(options.agents ?? 1, admin, {
    AYMC_URL: url,
    JAVA_HOME: jdk.home,
    AYMC_ORACLE: oracle.file,
    ...options.agentEnv,
  });
  for (const [at, { process: agent }] of agents.entries()) {
    releases.push(() => agent.stop());
    parts.set(agentName(at), asTarget(agentName(at), agent));
  }
  const [first] = agents;
  if (!first) throw new Error('a cluster needs an agent');
  return {
    url,
    databaseUrl,
    db,
    temporal,
    oracle,
    agent: first,
    agents,
    admin,
    part(name) {
      const part = parts.get(name);
      if (!part) throw new Error(`this cluster has no ${name}; it has ${[...parts.keys()].join(', ')}`);
      return part;
    },
    logTails: () => tailsOf(folder, agents),
    stop,
  };
}

interface Engines {
  databaseUrl: string;
  db: Database;
  temporal: { address: string; namespace: string };
}

async function borrowEngines(releases: Assembly['releases']): Promise<Engines> {
  const [database, temporal] = await Promise.all([createTestDatabase(), createTestNamespace()]);
  releases.push(() => database.drop());
  return { databaseUrl: database.url, db: database.db, temporal };
}

/** Both on ports that they keep over a restart, and on files that survive a kill −9. */
async function startEngines({ folder, releases }: Assembly, add: (part: Part) => Part): Promise<Engines> {
  const dataDir = join(folder, 'engines');
  await mkdir(dataDir);
  const [postgresPort, temporalPort, uiPort] = [await freePort(), await freePort(), await freePort()];
  let databaseUrl = '';
  const postgres = new Part('postgres', async () => {
    const server = await startPostgres({ dataDir, port: postgresPort });
    databaseUrl = server.url;
    return server;
  });
  const temporal = new Part('temporal', () => startTemporal({ dataDir, port: temporalPort, uiPort }));
  await Promise.all([add(postgres).start(), add(temporal).start()]);
  const db = connectDatabase({ url: databaseUrl, poolMax: 5, applicationName: 'test' });
  releases.push(() => db.close());
  await createMigrator(db).up();
  await ensurePartitions(db);
  return { databaseUrl, db, temporal: { address: `127.0.0.1:${temporalPort}`, namespace: 'default' } };
}

interface Program {
  name: string;
  script: string;
  ready: RegExp;
}

const WORKER = { name: 'worker', script: 'processes/worker.ts', ready: /"msg":"worker polls"/ };
const API = { name: 'api', script: 'processes/api.ts', ready: /"msg":"api listens"/ };
const APP = { name: 'app', script: 'processes/app.ts', ready: WORKER.ready };

const programsOf = ({ split = false }: ClusterOptions): Program[] => (split ? [API, WORKER] : [APP]);

const logFileOf = (folder: string, name: string): string => join(folder, 'logs', `${name}.log`);

function createPart(folder: string, env: NodeJS.ProcessEnv, program: Program): Part {
  const logFile = logFileOf(folder, program.name);
  return new Part(program.name, () => startProgram({ ...program, env, cwd: folder, logFile }));
}

async function signInAdmin(url: string, db: Database): Promise<ClusterUser> {
  const { username } = await buildUser(db, { role: 'admin' });
  const { body } = await sendRequest(url, 'POST', '/auth/login', { username, password: TEST_PASSWORD });
  return new ClusterUser(url, textOf(body, 'access_token'));
}

export interface Registration {
  /** Of the agent's row. */
  id: string;
  agentId: string;
  /** Where it is expected, on 127.0.0.1. */
  port: number;
  /** The API shows it this once. */
  token: string;
}

/** Tells the control plane of an agent that is still to be started. */
export async function registerAgent(admin: ClusterUser): Promise<Registration> {
  const port = await freePort();
  const agentId = `agent-${port}`;
  const { body } = await admin.send('POST', '/agents', {
    agent_id: agentId,
    hostname: 'localhost',
    ip_address: '127.0.0.1',
    port,
    tls_mode: 'plaintext',
  });
  return { id: textOf(body, 'id'), agentId, port, token: textOf(body, 'agent_token') };
}

export async function untilOnline(admin: ClusterUser, { id, agentId }: Registration): Promise<void> {
  await waitFor(async () => textOf((await admin.send('GET', `/agents/${id}`)).body, 'status') === 'online', {
    timeoutMs: AGENT_ONLINE_MS,
    what: `${agentId} to be online`,
  });
}

async function addAgent(admin: ClusterUser, env: NodeJS.ProcessEnv): Promise<ClusterAgent> {
  const registration = await registerAgent(admin);
  const process = await startAgentProcess({ ...registration, env: { ...inheritedEnvironment(), ...env } });
  await untilOnline(admin, registration);
  return { id: registration.id, process };
}

async function addAgents(count: number, admin: ClusterUser, env: NodeJS.ProcessEnv): Promise<ClusterAgent[]> {
  const added = await Promise.allSettled(Array.from({ length: count }, () => addAgent(admin, env)));
  const agents = added.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = added.find(result => result.status === 'rejected');
  if (!failed) return agents;
  await Promise.all(agents.map(agent => agent.process.stop()));
  throw failed.reason;
}

/** Lines of its owner's: what the product writes there itself comes beside them. */
export async function addProperties(
  { process: { workDir } }: ClusterAgent,
  serverId: string,
  properties: Record<string, string | number>,
): Promise<void> {
  const lines = Object.entries(properties).map(([name, value]) => `${name}=${value}\n`);
  await appendFile(join(workDir, serverId, 'server.properties'), lines.join(''));
}

/** The part's name of an agent by its index. */
export const agentName = (at: number): string => (at === 0 ? 'agent' : `agent-${at + 1}`);

function asTarget(name: string, agent: AgentProcess): Target {
  let isUp = true;
  return {
    name,
    get isUp() {
      return isUp;
    },
    get pid() {
      return agent.pid;
    },
    async kill() {
      await agent.kill('SIGKILL');
      isUp = false;
    },
    async restart() {
      await agent.restart();
      isUp = true;
    },
    freeze: () => void agent.kill('SIGSTOP'),
    thaw: () => void agent.kill('SIGCONT'),
    async stop() {
      await agent.kill('SIGTERM');
      isUp = false;
    },
  };
}

let bundle: Promise<string> | undefined;

/** The workflows, bundled once for all clusters of this process: a worker then starts two seconds sooner. */
function bundleOnce(): Promise<string> {
  bundle ??= (async () => {
    const given = process.env['AYMC_WORKFLOW_BUNDLE'];
    if (given) return given;
    const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
    const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
    const folder = await mkdtemp(join(tmpdir(), 'aymc-workflows-'));
    const path = join(folder, 'bundle.js');
    await writeFile(path, code);
    return path;
  })();
  return bundle;
}

async function removeBundle(): Promise<void> {
  if (!bundle || process.env['AYMC_WORKFLOW_BUNDLE']) return;
  await rm(join(await bundle, '..'), { recursive: true, force: true });
}

if (typeof after === 'function') after('remove the workflow bundle', removeBundle);

async function tailsOf(folder: string, agents: readonly ClusterAgent[]): Promise<string> {
  const names = ['app', 'api', 'worker', 'worker-2'];
  const tails = await Promise.all(
    names.map(async name => {
      const log = await readFile(logFileOf(folder, name), 'utf8').catch(() => '');
      return log === '' ? '' : tail(name, log);
    }),
  );
  return [...tails, ...agents.map(({ process: agent }) => tail(agent.agentId, agent.logs()))].join('\n');
}

function tail(name: string, log: string): string {
  return [`--- ${name}`, ...log.trimEnd().split('\n').slice(-TAIL_LINES)].join('\n');
}
