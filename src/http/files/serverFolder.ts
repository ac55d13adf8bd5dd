import { agentAddress } from '#src/agents/address.js';
import type { AgentAddress, FileTarget } from '#src/agents/gateway.js';
import type { ErrorCode } from '#src/domain/errors.js';
import { AGENT_FAILURES } from '../agents/live.js';
import type { Api } from '../deps.js';
import { findAgentOf, type ListedServer } from '../servers/queries.js';

/** What a request about a server's files may be answered with. */
export const FILE_FAILURES: readonly ErrorCode[] = [
  'invalid-path',
  'file-not-found',
  'file-changing',
  'not-installed',
  ...AGENT_FAILURES,
];

export interface ServerFolder {
  agent: AgentAddress;
  /** Of a path that has been parsed. */
  at(path: string): FileTarget;
}

/** Where a server's files are. */
export async function findFolder(
  { db, openToken }: Pick<Api, 'db' | 'openToken'>,
  server: ListedServer,
): Promise<ServerFolder> {
  const row = await findAgentOf(db, server);
  return {
    agent: agentAddress(row, openToken),
    at: path => ({ serverId: server.id, path, workDir: row.work_dir }),
  };
}
