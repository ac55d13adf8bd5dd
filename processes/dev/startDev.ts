import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import type { Config } from '#src/config.js';
import { banner } from './banner.js';
import { startEngines, type DevDeps, type Engines } from './engines.js';
import { appEnvironment, databaseEnvironment } from './environments.js';
import { takeInstance } from './instanceLock.js';
import {
  appStopMs,
  chooseAgents,
  createAgentPart,
  createAppPart,
  endLeftParts,
  LEAVE_SERVERS,
} from './ownParts.js';
import { freePort, isFree, LOOPBACK, pickPort } from './ports.js';
import type { Program, Programs } from './programs.js';
import { registerAgents, untilAgentsAreOnline, type LocalAgent } from './registerAgents.js';
import { removeRuntime, writeRuntime } from './runtimeFile.js';
import { keepSecret } from './secrets.js';
import type { SupervisedPart } from './supervisedPart.js';
import { runTool } from './tools.js';

const MIGRATE_TIMEOUT_MS = 10 * 60_000;
const SEED_TIMEOUT_MS = 60_000;
const AGENTS_STOP_MS = 4000;
const AGENTS_ONLINE_MS = 15_000;

/** For all parts together; only met when several of them hang. */
export const shutdownMs = (config: Config): number => appStopMs(config) + 15_000;

interface Deps extends DevDeps {
  /** The environment that parts inherit. */
  readonly env: NodeJS.ProcessEnv;
  readonly programs: Programs;
}

export interface Dev {
  readonly apiUrl: string;
  /** Starts app and agents anew, for changed code. The Minecraft servers play on. */
  restartCode(): void;
}

/** Brings up all of `npm start` on one data dir and keeps it up; answers when everything is ready. */
export async function startDev(deps: Deps): Promise<Dev> {
  const { config, shutdown, say } = deps;
  await takeDataDir(deps);
  const port = await chooseApiPort(config);
  const apiUrl = `http://${reachableHost(config.http.host)}:${port}`;
  let publish = (): void => undefined;
  const changed = (): void => publish();

  const engines = await startEngines(deps, changed);
  await prepareDatabase(deps, engines.databaseUrl);
  const jwtSecret = config.auth.jwtSecret ?? keepSecret(config.runtime.dataDir, 'jwt-secret');
  const localAgents = await chooseAgents(config);
  await registerAgents(engines.databaseUrl, jwtSecret, localAgents);

  const agents = localAgents.map(agent => ({ agent, part: createAgent(deps, agent, apiUrl, changed) }));
  shutdown.add('agents', () => Promise.all(agents.map(({ part }) => part.stop())), {
    timeoutMs: AGENTS_STOP_MS,
  });
  const app = createApp(deps, { engines, jwtSecret, port, apiUrl }, changed);
  await Promise.all([app.begin(), ...agents.map(({ part }) => beginAnyway(part, deps))]);
  shutdown.signal.throwIfAborted();

  const greeted = await untilAgentsAreOnline(engines.databaseUrl, localAgents, {
    timeoutMs: AGENTS_ONLINE_MS,
    signal: shutdown.signal,
  });
  if (!greeted) say('The local agents are not online yet; the worker goes on trying.');
  publish = () => publishRuntime(config, { apiUrl, engines, app, agents });
  publish();
  say(
    banner({
      api: apiUrl,
      temporalUi: engines.temporal.ui,
      embeddedPostgres: config.database.url === undefined,
      dataDir: config.runtime.dataDir,
      agents: localAgents.map(({ agentId }) => agentId),
      seeded: config.runtime.env === 'development',
    }),
  );
  return {
    apiUrl,
    restartCode() {
      app.restart(LEAVE_SERVERS);
      for (const { part } of agents) part.restart('SIGTERM');
    },
  };
}

/** Makes the data dir ours alone, and ends what a killed predecessor left before a port is chosen. */
async function takeDataDir({ config, shutdown, say }: Deps): Promise<void> {
  const { dataDir } = config.runtime;
  mkdirSync(dataDir, { recursive: true });
  chmodSync(dataDir, 0o700);
  const instance = await takeInstance(dataDir, say, shutdown.signal);
  shutdown.add('instance', () => {
    removeRuntime(dataDir);
    instance.release();
  });
  shutdown.signal.addEventListener('abort', () => instance.markEnding(), { once: true });
  removeRuntime(dataDir);
  await endLeftParts(config, say);
}

async function chooseApiPort({ http, provenance }: Config): Promise<number> {
  if (http.port === 0) return freePort(http.host);
  if (provenance.get('PORT') === 'default') return pickPort(http.port, http.host);
  if (await isFree(http.port, http.host)) return http.port;
  throw new Error(`PORT ${http.port} is taken on ${http.host}; stop who has it, or set another`);
}

/** Where a client on this machine finds a listener on `host`. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0' || host === '::' || host === 'localhost') return LOOPBACK;
  return host.includes(':') ? `[${host}]` : host;
}

async function prepareDatabase({ env, programs, shutdown }: Deps, databaseUrl: string): Promise<void> {
  const run = ({ command, args }: Program, timeoutMs: number): Promise<string> =>
    runTool(command, args, {
      env: databaseEnvironment(env, databaseUrl),
      timeoutMs,
      signal: shutdown.signal,
    });
  await run(programs.migrate, MIGRATE_TIMEOUT_MS);
  await run(programs.seed, SEED_TIMEOUT_MS);
}

function createAgent(deps: Deps, agent: LocalAgent, apiUrl: string, changed: () => void): SupervisedPart {
  const { config, env, programs, parts, say } = deps;
  const part = createAgentPart({ config, env, say, changed, program: programs.agent }, agent, apiUrl);
  parts.add(part);
  return part;
}

interface AppFacts {
  readonly engines: Engines;
  readonly jwtSecret: string;
  readonly port: number;
  readonly apiUrl: string;
}

function createApp(
  deps: Deps,
  { engines, jwtSecret, port, apiUrl }: AppFacts,
  changed: () => void,
): SupervisedPart {
  const { config, programs, parts, shutdown, say } = deps;
  const env = appEnvironment(deps.env, config, {
    databaseUrl: engines.databaseUrl,
    temporalAddress: engines.temporal.address,
    temporalNamespace: engines.temporal.namespace,
    apiPort: port,
    jwtSecret,
    workflowBundle: config.runtime.workflowBundle ?? programs.workflowBundle,
    startId: randomUUID(),
  });
  const part = createAppPart({ config, env, say, changed, program: programs.app }, apiUrl);
  parts.add(part);
  shutdown.add('app', () => part.stop(), { timeoutMs: appStopMs(config) + 2000 });
  return part;
}

/** The rest is of use without an agent, so one that does not come up is tried again behind. */
async function beginAnyway(part: SupervisedPart, { shutdown }: Deps): Promise<void> {
  try {
    await part.begin();
  } catch (error) {
    if (!shutdown.signal.aborted) part.keepTrying(error instanceof Error ? error.message : String(error));
  }
}

interface Running {
  readonly apiUrl: string;
  readonly engines: Engines;
  readonly app: SupervisedPart;
  readonly agents: readonly { readonly agent: LocalAgent; readonly part: SupervisedPart }[];
}

function publishRuntime({ runtime, redis }: Config, { apiUrl, engines, app, agents }: Running): void {
  const pid = app.current?.pid ?? null;
  writeRuntime(runtime.dataDir, {
    api: apiUrl,
    temporal: engines.temporal,
    postgres: { url: engines.databaseUrl },
    redis: redis.url ?? null,
    agents: agents.map(({ agent, part }) => ({
      agent_id: agent.agentId,
      address: `${agent.address}:${agent.port}`,
      pid: part.current?.pid ?? null,
      data_dir: agent.workDir,
    })),
    pids: { api: pid, worker: pid, ...engines.pids() },
  });
}
