/** A row of server_metrics: what the channel `server:<id>:metrics` carries, and GET metrics averages. */
export interface ServerMetricsView {
  server_id: string;
  /** ISO 8601, UTC. */
  timestamp: string;
  /** 100 = one core. Null, here and below, when it could not be measured. */
  cpu_percent: number | null;
  /** Bytes. */
  memory_used: number | null;
  players_online: number | null;
  tps: number | null;
  uptime_seconds: number | null;
  /** Bytes. */
  disk_used: number | null;
}
