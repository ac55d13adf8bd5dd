import type { AgentHistoryPoint } from '#src/db/metricsHistory.js';
import { canLease } from '#src/domain/leases.js';
import type { ApiSettings } from '../deps.js';
import type { ListedAgent } from './queries.js';

/** Never the token: it is shown once, by the answer that makes it. */
export function presentAgent(agent: ListedAgent, { lease }: Pick<ApiSettings, 'lease'>) {
  return {
    id: agent.id,
    agent_id: agent.agent_id,
    name: agent.agent_id,
    hostname: agent.hostname,
    host: agent.hostname,
    ip_address: agent.ip_address,
    port: agent.port,
    status: agent.status,
    version: agent.version,
    os: agent.os,
    cpu_cores: agent.cpu_cores,
    memory_total: agent.memory_total,
    disk_total: agent.disk_total,
    last_seen: agent.last_seen?.toISOString() ?? null,
    health_check_interval: agent.health_check_interval,
    work_dir: agent.work_dir,
    tls_mode: agent.tls_mode,
    tls_fingerprint: agent.tls_fingerprint,
    zone: agent.zone,
    labels: agent.labels,
    capabilities: agent.capabilities,
    lease: canLease(agent.capabilities) ? presentLease(agent, lease.ttlMs) : null,
    maintenance_until: agent.maintenance_until?.toISOString() ?? null,
    cordoned: agent.cordoned,
    quarantined: agent.quarantined,
    created_at: agent.created_at.toISOString(),
    updated_at: agent.updated_at.toISOString(),
  };
}

/** With the names that the live metrics have. */
export function presentHistoryPoint(point: AgentHistoryPoint) {
  return {
    timestamp: point.timestamp.toISOString(),
    cpu_percent: point.cpu_percent,
    memory_total: point.memory_total,
    memory_used: point.memory_used,
    disk_total: point.disk_total,
    disk_used: point.disk_used,
    network_sent: point.network_sent,
    network_recv: point.network_received,
  };
}

function presentLease(agent: ListedAgent, ttlMs: number) {
  return {
    seq: agent.lease_seq,
    renewed_at: agent.lease_renewed_at?.toISOString() ?? null,
    frozen: agent.lease_frozen,
    ttl_ms: ttlMs,
    servers: agent.leasable_servers,
  };
}
