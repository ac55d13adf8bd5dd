import { AppError } from '#src/domain/errors.js';
import type { Database } from './connect.js';
import { row } from './sql.js';
import type { AgentRow, OperationRow, ServerRow } from './types.js';

/** What an activity needs to know to do an operation's work on an agent. */
export interface WorkSubject {
  operation: OperationRow;
  /** Null for work of the agent itself. */
  server: ServerRow | null;
  agent: AgentRow;
}

/** Reads the rows afresh: ids are all that an activity was given. Rejects with `not-found` when one is gone. */
export async function loadWork(db: Database, operationId: string): Promise<WorkSubject> {
  const operation = await row<OperationRow>(db, 'SELECT * FROM operations WHERE id = $1', {
    bind: [operationId],
  });
  if (!operation) throw new AppError('not-found', { detail: 'The operation is gone' });
  const server = await row<ServerRow>(db, 'SELECT * FROM servers WHERE id = $1', {
    bind: [operation.server_id],
  });
  if (operation.server_id !== null && !server)
    throw new AppError('not-found', { detail: 'The operation’s server is gone' });
  const agent = await row<AgentRow>(db, 'SELECT * FROM agents WHERE id = $1', {
    bind: [server?.agent_id ?? operation.agent_id],
  });
  if (!agent) throw new AppError('not-found', { detail: 'The operation’s agent is gone' });
  return { operation, server: server ?? null, agent };
}
