import type { ListedServer } from './queries.js';

/** `operationId`: the one that was just accepted; else the one that acts on the server now. */
export function presentServer(server: ListedServer, operationId = server.current_op_id) {
  return {
    id: server.id,
    agent_id: server.agent_id,
    user_id: server.user_id,
    name: server.name,
    display_name: server.display_name,
    server_type: server.server_type,
    type: server.server_type,
    version: server.version,
    port: server.port,
    max_players: server.max_players,
    status: server.status,
    desired_state: server.desired_state,
    installed: server.installed,
    work_dir: server.work_dir,
    java_args: server.java_args,
    // Text, as existing clients send and read it.
    java_version: server.java_version === null ? null : String(server.java_version),
    auto_start: server.auto_start,
    auto_restart: server.auto_restart,
    restart_when_hung: server.restart_when_hung,
    memory_min: server.memory_min,
    memory_max: server.memory_max,
    ram_min: server.memory_min,
    ram_max: server.memory_max,
    accept_eula: server.accept_eula,
    failover_policy: server.failover_policy,
    failover_empty_world: server.failover_empty_world,
    jar_url: server.jar_url,
    jar_sha256: server.jar_sha256,
    connect_address: server.connect_address ?? addressOf(server),
    operation_id: operationId,
    created_at: server.created_at.toISOString(),
    updated_at: server.updated_at.toISOString(),
    last_started: server.last_started?.toISOString() ?? null,
    last_stopped: server.last_stopped?.toISOString() ?? null,
    last_crash: server.last_crash,
    restart_after: server.restart_after?.toISOString() ?? null,
  };
}

function addressOf({ agent_host: host, port }: ListedServer): string | null {
  if (port === null) return null;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
