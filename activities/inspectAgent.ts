import type { ServerStates } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import type { ReconcileDeps } from './reconcileDeps.js';

const DEADLINE_MS = 5_000;

/** What an agent says of all its servers; null when it does not answer: it is left for the next look. */
export async function inspectAgent(
  { gateway, openToken }: Pick<ReconcileDeps, 'gateway' | 'openToken'>,
  agent: AgentRow,
): Promise<ServerStates | null> {
  try {
    return await gateway.inspectServers(agentAddress(agent, openToken), { deadlineMs: DEADLINE_MS });
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}
