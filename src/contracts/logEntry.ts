/** A row of GET logs, which is what the channel `server:<id>:logs` carries too. */
export interface LogEntryView {
  id: number;
  /** Opaque: its place in the history of its server. */
  cursor: string;
  server_id: string;
  /** ISO 8601, UTC. */
  timestamp: string;
  level: 'INFO' | 'WARN' | 'ERROR' | 'DEBUG';
  source: string;
  message: string;
  /** Class and message of what was thrown. */
  exception: string | null;
  stack_trace: string | null;
}
