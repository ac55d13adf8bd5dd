import type { Severity } from '#src/domain/alert.js';

/** What a user is told: the messages of `user:notifications`, and with its number a row of GET notifications. */
export interface NotificationView {
  id: string;
  type: string;
  severity: Severity;
  title: string;
  body: string;
  /** For an alert: `code` and what it is about. */
  data: Record<string, unknown>;
  server_id: string | null;
  /** ISO 8601, UTC. */
  read_at: string | null;
  created_at: string;
}
