import { join } from 'node:path';
import type { Config } from '#src/config.js';
import { settings } from '#src/config/table.js';
import type { LocalAgent } from './registerAgents.js';

/** Where the parts of one `npm start` find each other. */
export interface Places {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly temporalNamespace: string;
  readonly apiPort: number;
  readonly jwtSecret: string;
  readonly workflowBundle: string | undefined;
  /** Of this `npm start`; a restarted part keeps it. */
  readonly startId: string;
}

/** For migrations and seeds: what we were given, and the database. */
export function databaseEnvironment(env: NodeJS.ProcessEnv, databaseUrl: string): NodeJS.ProcessEnv {
  return { ...env, DATABASE_URL: databaseUrl, DATABASE_URL_FILE: '' };
}

/** For api and worker: what we were given, and where everything is. */
export function appEnvironment(env: NodeJS.ProcessEnv, config: Config, places: Places): NodeJS.ProcessEnv {
  return {
    ...databaseEnvironment(env, places.databaseUrl),
    HOST: config.http.host,
    PORT: String(places.apiPort),
    TEMPORAL_ADDRESS: places.temporalAddress,
    TEMPORAL_NAMESPACE: places.temporalNamespace,
    JWT_SECRET: places.jwtSecret,
    JWT_SECRET_FILE: '',
    AYMC_DATA_DIR: config.runtime.dataDir,
    AYMC_START_ID: places.startId,
    AYMC_STOP_SERVERS_ON_EXIT: config.dev.stopServersOnExit ? '1' : '0',
    ...(places.workflowBundle === undefined ? {} : { AYMC_WORKFLOW_BUNDLE: places.workflowBundle }),
  };
}

/** For an agent: the machine's environment without a single setting of the control plane, and its own. */
export function agentEnvironment(
  env: NodeJS.ProcessEnv,
  config: Config,
  agent: LocalAgent,
  apiUrl: string,
): NodeJS.ProcessEnv {
  const ours = new Set<string>(settings.map(({ setting }) => setting.name));
  const machine = Object.entries(env).filter(
    ([name]) => !ours.has(name.replace(/_FILE$/, '')) && !ours.has(name),
  );
  return {
    ...Object.fromEntries(machine),
    AYMC_URL: apiUrl,
    AGENT_ID: agent.agentId,
    AGENT_TOKEN: agent.token,
    AGENT_HOST: agent.address,
    AGENT_PORT: String(agent.port),
    AGENT_WORK_DIR: agent.workDir,
    ALLOW_PRIVATE_URLS: config.servers.allowPrivateUrls ? '1' : '0',
    LOG_LEVEL: config.runtime.logLevel,
  };
}

export const agentFolder = (dataDir: string, agentId: string): string => join(dataDir, 'agents', agentId);
