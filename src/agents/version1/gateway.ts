import { AgentServiceService, type HelloResponse, type JavaRuntime } from '#proto/gen/agent.js';
import { VERSION_1 } from '#src/domain/installation.js';
import type { Calls } from '../calls.js';
import type { AgentAddress, AgentGateway, CallOptions } from '../gateway.js';
import { Consoles } from './consoles.js';
import { eventsOf } from './events.js';
import { Looks } from './looks.js';
import { States } from './states.js';
import { inTurn, type Turns } from './turns.js';
import { Works } from './works.js';

/** What an agent of version 1 announces: neither durable work nor dedup, adoption, leases or events of its own. */
const CAPABILITIES = [VERSION_1];

/** The calls that agents of version 1 don't know, answered by what they do. */
export type GatewayOfVersion1 = Pick<
  AgentGateway,
  'hello' | 'inspectServers' | 'submitWork' | 'watchWork' | 'cancelWork' | 'streamEvents'
> & { close(): void };

export interface Version1Deps {
  calls: Calls;
  turns: Turns;
  defaultDeadlineMs: number;
  /** How long an agent may stay away in the middle of a step (default five minutes). */
  patienceMs?: number | undefined;
}

/** Opens nothing until the first call. */
export function createGatewayOfVersion1({
  calls: rawCalls,
  turns,
  defaultDeadlineMs,
  patienceMs,
}: Version1Deps): GatewayOfVersion1 {
  const calls = inTurn(rawCalls, turns, defaultDeadlineMs);
  const looks = new Looks(calls);
  const consoles = new Consoles(calls);
  const states = new States(looks, consoles);
  const deps = { calls, rawCalls, turns, looks, consoles, states };
  const works = new Works(deps, patienceMs);

  return {
    hello: (agent, options = {}) => introduce(calls, agent, options),
    inspectServers: (agent, options = {}) => states.inspect(agent, options),
    submitWork: async (agent, request, { requestId } = {}) => works.submit(agent, request, requestId),
    watchWork: (agent, key, options = {}) => works.watch(agent, key, options),
    cancelWork: async (agent, key) => works.cancel(agent, key),
    streamEvents: (agent, request, options = {}) => eventsOf(deps, agent, request, options),
    close: () => works.close(),
  };
}

/** What can be found out about the agent and its host. Which processor it has, and when it booted, they do not say. */
async function introduce(calls: Calls, agent: AgentAddress, options: CallOptions): Promise<HelloResponse> {
  const rpc = AgentServiceService;
  const [info, metrics, dependencies] = await Promise.all([
    calls.unary({ agent, method: rpc.getAgentInfo, request: {}, options }),
    calls.unary({ agent, method: rpc.getSystemMetrics, request: {}, options }),
    calls.unary({ agent, method: rpc.checkDependencies, request: {}, options }),
  ]);
  const { javaInstalled, javaVersion, javaPaths } = dependencies;
  const major = javaInstalled ? javaMajorOf(javaVersion) : undefined;
  const runtime: JavaRuntime[] =
    major === undefined ? [] : [{ path: javaPaths[0] ?? 'java', major, version: javaVersion.slice(0, 100) }];
  return {
    agentId: info.agentId,
    version: info.version,
    bootId: '',
    incarnation: '',
    capabilities: CAPABILITIES,
    javaRuntimes: runtime,
    os: `${info.platform} ${info.platformVersion}`.trim(),
    arch: '',
    cpuCores: 0,
    memoryTotalBytes: metrics.memoryTotal,
    diskTotalBytes: metrics.diskTotal,
    maxServers: info.maxServers,
  };
}

/** Of `21.0.3`, `openjdk version "17.0.9"` or `1.8.0_402`. */
function javaMajorOf(version: string): number | undefined {
  const [, first, second] = /(\d+)(?:\.(\d+))?/.exec(version) ?? [];
  if (first === undefined) return undefined;
  return Number(first === '1' && second !== undefined ? second : first);
}
