import { assertNever } from './errors.js';

export const BALANCER_STRATEGIES = ['least_load', 'least_connections', 'round_robin'] as const;
export type BalancerStrategy = (typeof BALANCER_STRATEGIES)[number];

/** An online agent that accepts new servers, and what it already carries. */
export interface PlacementCandidate {
  /** The row's UUID. */
  id: string;
  /** The name by which people order their agents, and so the order of "in turn". */
  agentId: string;
  /** Servers assigned to it, whether they run or not. */
  servers: number;
  /** Null = no limit of its own. */
  maxServers: number | null;
  /** Sum of the assigned servers' `memory_max`, in MiB. */
  memoryReservedMb: number;
  /** Null while the agent has not said. */
  memoryTotalMb: number | null;
  cpuCores: number | null;
}

export interface PlacementRequest {
  strategy: BalancerStrategy;
  /** `memory_max` of the new server, in MiB. */
  memoryMb: number;
  /** The agent that got the newest server, for `round_robin`; so all api processes share one turn. */
  lastAgentId: string | null;
}

/**
 * Which agent gets a new server, or null when none has a place. Memory orders the agents and refuses nobody: how far
 * to overcommit a host is its operator's decision, who can name an agent or set its limit of servers.
 */
export function chooseAgent(
  candidates: readonly PlacementCandidate[],
  request: PlacementRequest,
): PlacementCandidate | null {
  const open = candidates
    .filter(candidate => candidate.maxServers === null || candidate.servers < candidate.maxServers)
    .sort((a, b) => compareText(a.agentId, b.agentId));
  switch (request.strategy) {
    case 'round_robin':
      return open.find(({ agentId }) => agentId > (request.lastAgentId ?? '')) ?? open[0] ?? null;
    case 'least_connections':
      return lowest(open, [candidate => candidate.servers]);
    case 'least_load':
      return lowest(open, [candidate => memoryShare(candidate, request.memoryMb), cpuShare]);
    default:
      return assertNever(request.strategy);
  }
}

/** The share of its memory that would be promised; an agent that has not said how much it has comes last. */
function memoryShare(candidate: PlacementCandidate, memoryMb: number): number {
  if (!candidate.memoryTotalMb) return Number.POSITIVE_INFINITY;
  return (candidate.memoryReservedMb + memoryMb) / candidate.memoryTotalMb;
}

/** A Minecraft server keeps about one core busy, so servers per core is its share. */
function cpuShare(candidate: PlacementCandidate): number {
  return (candidate.servers + 1) / (candidate.cpuCores ?? 1);
}

/** The first of those that no other beats in the first key, then the second …; the given order breaks ties. */
function lowest(
  candidates: readonly PlacementCandidate[],
  keys: readonly ((candidate: PlacementCandidate) => number)[],
): PlacementCandidate | null {
  const [first] = [...candidates].sort((a, b) => {
    for (const key of keys) {
      const [x, y] = [key(a), key(b)];
      if (x !== y) return x - y;
    }
    return 0;
  });
  return first ?? null;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
