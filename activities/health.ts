import { Context } from '@temporalio/activity';
import type { HelloResponse } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import type { HealthActivities } from '#src/contracts/activities.js';
import { recordAgentFacts, recordPings, type AgentFacts, type PingResult } from '#src/db/agentHealth.js';
import type { Database } from '#src/db/connect.js';
import { listAgents } from '#src/db/reconciliation.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import { forEachOf } from './forEachOf.js';

export interface HealthDeps {
  db: Database;
  gateway: AgentGateway;
  bus: Bus;
  openToken: (sealed: string) => string;
  intervalMs: number;
  failuresAllowed: number;
}

const PAGE = 250;
const PINGS_AT_ONCE = 100;
/** Slower is a failure. */
const PING_DEADLINE_MS = 5_000;
/** Unseen for this many intervals, besides the misses, before an agent counts as offline. */
const UNSEEN_INTERVALS = 2.5;

/** The agent is there, but something about it is wrong. */
const REACHED: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['agent-refused', 'agent-tls', 'agent-failed']);

export function createHealthActivities(deps: HealthDeps): HealthActivities {
  return {
    async sweepAgents({ sweepId }) {
      const agents = await listAgents(deps.db);
      let failed = 0;
      for (let at = 0; at < agents.length; at += PAGE) {
        const results: PingResult[] = [];
        await forEachOf(agents.slice(at, at + PAGE), PINGS_AT_ONCE, async agent => {
          results.push({ id: agent.id, outcome: await ping(deps, agent) });
          Context.current().heartbeat();
        });
        failed += results.filter(result => result.outcome !== 'answered').length;
        const limits = {
          failuresAllowed: deps.failuresAllowed,
          unseenMs: UNSEEN_INTERVALS * deps.intervalMs,
        };
        for (const change of await recordPings(deps.db, sweepId, results, limits)) {
          deps.bus.publish('agent-status', { agent_id: change.id });
        }
      }
      return { pinged: agents.length, failed };
    },
  };
}

async function ping(deps: HealthDeps, agent: AgentRow): Promise<PingResult['outcome']> {
  const address = agentAddress(agent, deps.openToken);
  const options = { deadlineMs: PING_DEADLINE_MS };
  try {
    if (agent.status === 'online') {
      await deps.gateway.ping(address, options);
    } else {
      await greet(deps, agent, await deps.gateway.hello(address, options));
    }
    return 'answered';
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return REACHED.has(error.code) ? 'error' : 'missed';
  }
}

/** Records what an agent tells of itself; it is online from here on. */
export async function greet(
  { db, bus }: Pick<HealthDeps, 'db' | 'bus'>,
  agent: AgentRow,
  hello: HelloResponse,
): Promise<void> {
  const change = await recordAgentFacts(db, agent.id, factsOf(hello));
  if (change) bus.publish('agent-status', { agent_id: agent.id });
}

/** As the row of the agent has them. */
export function factsOf(hello: HelloResponse): AgentFacts {
  return {
    version: hello.version.slice(0, 20),
    os: hello.os,
    cpu_cores: hello.cpuCores || null,
    memory_total: hello.memoryTotalBytes,
    disk_total: hello.diskTotalBytes,
    boot_id: hello.bootId,
    incarnation: hello.incarnation,
    capabilities: {
      can: hello.capabilities,
      java_runtimes: hello.javaRuntimes,
      arch: hello.arch || null,
      max_servers: hello.maxServers,
    },
  };
}
