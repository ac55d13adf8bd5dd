import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '#src/config.js';
import { agentEnvironment, agentFolder } from './environments.js';
import { answers, LOOPBACK, pickPort } from './ports.js';
import type { Escalation } from './processTable.js';
import type { Program } from './programs.js';
import { untilReady } from './readiness.js';
import type { LocalAgent } from './registerAgents.js';
import { keepSecret } from './secrets.js';
import { endLeftover, pidFileOf, startService, type Service } from './service.js';
import { SupervisedPart } from './supervisedPart.js';
import type { Say } from './tools.js';

const FIRST_AGENT_PORT = 50_051;
const APP_READY_TIMEOUT_MS = 60_000;
const AGENT_READY_TIMEOUT_MS = 20_000;

const AGENT_STOP_BY: Escalation = [
  ['SIGTERM', 2000],
  ['SIGKILL', 1000],
];
/** Ends the app but leaves the servers: neither changed code nor a killed predecessor is a wish to stop them. */
export const LEAVE_SERVERS = 'SIGHUP';

/** How long the app may take to end: its own time, and where it stops the Minecraft servers first, theirs. */
export const appStopMs = ({ dev }: Config): number => (dev.stopServersOnExit ? 54_000 : 9000);

interface Deps {
  readonly config: Config;
  readonly program: Program;
  readonly env: NodeJS.ProcessEnv;
  readonly say: Say;
  readonly changed: () => void;
}

/** api and worker in one process; up when `/readyz` says so. */
export function createAppPart({ config, program, env, say, changed }: Deps, apiUrl: string): SupervisedPart {
  const start = async (signal: AbortSignal): Promise<Service> => {
    const service = await startService({
      ...program,
      name: 'AYMC',
      env,
      cwd: process.cwd(),
      pidFile: pidFileOf(config.runtime.dataDir, 'app'),
      stopBy: [
        ['SIGTERM', appStopMs(config)],
        ['SIGKILL', 1000],
      ],
    });
    const ready = async (): Promise<boolean> =>
      (await fetch(`${apiUrl}/readyz`, { signal: AbortSignal.timeout(2000) })).ok;
    const hint = 'its own lines above say why';
    await untilReady(service, ready, { name: 'AYMC', timeoutMs: APP_READY_TIMEOUT_MS, signal, hint });
    return service;
  };
  return new SupervisedPart({ name: 'api and worker', start, say, changed });
}

/** A local agent; up when it accepts connections. Its servers live under guards, so they outlive it. */
export function createAgentPart(
  { config, program, env, say, changed }: Deps,
  agent: LocalAgent,
  apiUrl: string,
): SupervisedPart {
  const name = `agent ${agent.agentId}`;
  const start = async (signal: AbortSignal): Promise<Service> => {
    mkdirSync(agent.workDir, { recursive: true, mode: 0o700 });
    const service = await startService({
      ...program,
      name,
      env: agentEnvironment(env, config, agent, apiUrl),
      cwd: agent.workDir,
      pidFile: agentPidFile(config, agent.agentId),
      stopBy: AGENT_STOP_BY,
    });
    const ready = () => answers(agent.port, agent.address);
    await untilReady(service, ready, { name, timeoutMs: AGENT_READY_TIMEOUT_MS, signal });
    return service;
  };
  return new SupervisedPart({ name, start, say, changed });
}

const agentId = (n: number): string => `local-${n}`;
const agentPidFile = ({ runtime }: Config, id: string): string => pidFileOf(runtime.dataDir, `agent-${id}`);

/** The agents that the settings ask for, each with its token from the data dir and a port that is free. */
export async function chooseAgents({ runtime, dev }: Config): Promise<LocalAgent[]> {
  const agents: LocalAgent[] = [];
  for (let n = 1; n <= dev.embeddedAgents; n++) {
    const id = agentId(n);
    agents.push({
      agentId: id,
      address: LOOPBACK,
      port: await pickPort(FIRST_AGENT_PORT + n - 1),
      workDir: agentFolder(runtime.dataDir, id),
      token: keepSecret(runtime.dataDir, `agent-${id}-token`),
    });
  }
  return agents;
}

/** Ends app and agents of a killed predecessor; its engines are ended where ours are started. */
export async function endLeftParts({ runtime }: Config, say: Say): Promise<void> {
  const app = endLeftover(pidFileOf(runtime.dataDir, 'app'), [
    [LEAVE_SERVERS, 9000],
    ['SIGKILL', 2000],
  ]);
  const agents = leftAgents(runtime.dataDir).map(file => endLeftover(file, AGENT_STOP_BY));
  if ((await Promise.all([app, ...agents])).some(Boolean)) say('Ended what a killed predecessor left.');
}

/** Whatever the number of agents was then. */
function leftAgents(dataDir: string): string[] {
  const folder = join(dataDir, 'run');
  try {
    return readdirSync(folder)
      .filter(name => /^agent-.*\.json$/.test(name))
      .map(name => join(folder, name));
  } catch {
    return [];
  }
}
