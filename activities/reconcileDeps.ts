import type { WorkflowClient } from '@temporalio/client';
import type { Logger } from 'pino';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import type { Operations } from '#src/operations/operations.js';

export interface ReconcileDeps {
  db: Database;
  gateway: AgentGateway;
  operations: Operations;
  bus: Bus;
  temporal: () => Promise<WorkflowClient>;
  openToken: (sealed: string) => string;
  /** How long a grant holds. */
  leaseTtlMs: number;
  /** Sends what a hand-over put into the outbox; never rejects. */
  sendNow: (operationIds: readonly string[]) => Promise<void>;
  logger: Logger;
}
