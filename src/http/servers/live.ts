import { ProcessState, type ServerState } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { CallOptions } from '#src/agents/gateway.js';
import type { ServerMetricRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { ServerStatus } from '#src/domain/serverState.js';
import type { Api } from '../deps.js';
import { findAgentOf, findFreshMetrics, type ListedServer } from './queries.js';

/** Below what people wait for a page, and well below what the desktop client does. */
const INSPECT_DEADLINE_MS = 3_000;
const COMMAND_DEADLINE_MS = 10_000;

const STATUS_OF_PROCESS: Partial<Record<ProcessState, ServerStatus>> = {
  [ProcessState.STOPPED]: 'stopped',
  [ProcessState.STARTING]: 'starting',
  [ProcessState.RUNNING]: 'running',
  [ProcessState.STOPPING]: 'stopping',
  [ProcessState.CRASHED]: 'error',
};

/** What the agent sees now; when it can't be asked, what is on record and since when. */
export async function observeStatus(api: Api, server: ListedServer, options: CallOptions) {
  const [observed, metrics] = await Promise.all([
    inspect(api, server, { deadlineMs: INSPECT_DEADLINE_MS, ...options }),
    findFreshMetrics(api.db, server.id),
  ]);
  const status = (observed && STATUS_OF_PROCESS[observed.state]) ?? server.status;
  return presentStatus(server, status, observed, metrics);
}

function presentStatus(
  server: ListedServer,
  status: ServerStatus,
  observed: ServerState | null,
  metrics: ServerMetricRow | undefined,
) {
  const alive = status !== 'stopped' && status !== 'error';
  const measured = alive ? metrics : undefined;
  return {
    status,
    desired_state: server.desired_state,
    pid: alive && observed ? observed.pid || null : null,
    uptime_seconds: alive ? uptimeOf(observed, measured) : null,
    players_online: measured?.players_online ?? null,
    max_players: server.max_players,
    tps: measured?.tps ?? null,
    cpu_percent: measured?.cpu_percent ?? null,
    memory_used: measured?.memory_used ?? null,
    disk_used: measured?.disk_used ?? null,
    observed_at: (observed ? new Date() : server.updated_at).toISOString(),
  };
}

function uptimeOf(observed: ServerState | null, measured: ServerMetricRow | undefined): number | null {
  if (!observed?.startedAtMs) return measured?.uptime_seconds ?? null;
  return Math.max(0, Math.floor((Date.now() - observed.startedAtMs) / 1000));
}

async function inspect(api: Api, server: ListedServer, options: CallOptions): Promise<ServerState | null> {
  try {
    const agent = agentAddress(await findAgentOf(api.db, server), api.openToken);
    const { servers } = await api.gateway.inspectServers(agent, options);
    return servers.find(({ serverId }) => serverId === server.id) ?? null;
  } catch (error) {
    if (!(error instanceof AppError) || error.code === 'database-unavailable') throw error;
    return null;
  }
}

/** One line into the server's console. Rejects with `server-not-running`, `console-busy` or what ails the agent. */
export async function sendCommand(
  api: Pick<Api, 'db' | 'gateway' | 'openToken'>,
  server: ListedServer,
  command: string,
  options: CallOptions,
) {
  if (server.status === 'stopped') throw new AppError('server-not-running');
  const agent = agentAddress(await findAgentOf(api.db, server), api.openToken);
  const call = { deadlineMs: COMMAND_DEADLINE_MS, ...options };
  const { output } = await api.gateway.sendCommand(agent, { serverId: server.id, command }, call);
  return { accepted: true, ...(output !== null && { output }) };
}
