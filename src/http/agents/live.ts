import { agentAddress } from '#src/agents/address.js';
import type { CallOptions } from '#src/agents/gateway.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import type { Api } from '../deps.js';

/** What a live call to an agent may be answered with. */
export const AGENT_FAILURES: readonly ErrorCode[] = [
  'agent-unreachable',
  'agent-timeout',
  'agent-tls',
  'agent-refused',
  'agent-unsupported',
  'agent-failed',
];

const DEADLINE_MS = 5_000;

/** An answer either way: that an agent can't be reached is what was asked. */
export async function checkHealth(api: Api, agent: AgentRow, options: CallOptions) {
  const call = { deadlineMs: DEADLINE_MS, ...options };
  const timestamp = new Date().toISOString();
  try {
    const address = agentAddress(agent, api.openToken);
    const [{ latencyMs }, health] = await Promise.all([
      api.gateway.ping(address, call),
      api.gateway.health(address, call),
    ]);
    return {
      healthy: health.healthy,
      status: health.status || (health.healthy ? 'healthy' : 'unhealthy'),
      latency_ms: Math.round(latencyMs * 10) / 10,
      checks: health.checks,
      timestamp,
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const checks = { connection: `${error.code}: ${error.detail}` };
    return { healthy: false, status: 'unreachable', latency_ms: null, checks, timestamp };
  }
}

/** Rejects with what keeps the agent from answering. */
export async function readMetrics(api: Api, agent: AgentRow, options: CallOptions) {
  const call = { deadlineMs: DEADLINE_MS, ...options };
  const address = agentAddress(agent, api.openToken);
  const [metrics, info] = await Promise.all([
    api.gateway.metrics(address, call),
    api.gateway.info(address, call),
  ]);
  return {
    cpu_percent: metrics.cpuPercent,
    memory_total: metrics.memoryTotal,
    memory_used: metrics.memoryUsed,
    memory_percent: metrics.memoryPercent,
    disk_total: metrics.diskTotal,
    disk_used: metrics.diskUsed,
    disk_percent: metrics.diskPercent,
    network_sent: metrics.networkSent,
    network_recv: metrics.networkRecv,
    uptime: info.uptimeSeconds,
    timestamp: new Date().toISOString(),
    cpu_usage: metrics.cpuPercent,
    memory_usage: metrics.memoryPercent,
    disk_usage: metrics.diskPercent,
  };
}
