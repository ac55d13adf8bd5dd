import { join } from 'node:path';
import { AgentError } from '../errors.js';

/** Below the work dir; the agent's own records, out of reach of everything that reads or writes users' files. */
export const HIDDEN_FOLDER = '.aymc';

export interface ServerPaths {
  /** The server's own folder: the JVM's working directory, the users' files. */
  readonly folder: string;
  /** Our records about it. */
  readonly state: string;
  readonly lock: string;
  readonly lease: string;
  readonly facts: string;
  readonly runs: string;
}

export interface AgentPaths {
  readonly workDir: string;
  readonly hidden: string;
  /** Held by the one agent process of this work dir. */
  readonly lock: string;
  readonly ledger: string;
  readonly journal: string;
  readonly address: string;
  readonly cache: string;
  readonly trash: string;
  /** Files on their way in, on the file system of the servers' folders. Emptied at boot. */
  readonly uploads: string;
  readonly servers: string;
  /** What installers make, a folder a server, on its way into the server's own. */
  readonly installs: string;
  /** Copies of servers' folders, one a server, on the file system of the folders themselves. */
  readonly snapshots: string;
  /** Where BuildTools works, a folder a Minecraft version. */
  readonly builds: string;
  readonly java: string;
  /** Runtimes on their way there. Emptied at boot. */
  readonly javaStaging: string;
  server(id: string): ServerPaths;
}

export function agentPaths(workDir: string): AgentPaths {
  const hidden = join(workDir, HIDDEN_FOLDER);
  const servers = join(hidden, 'servers');
  return {
    workDir,
    hidden,
    lock: join(hidden, 'agent.lock'),
    ledger: join(hidden, 'ledger.jsonl'),
    journal: join(hidden, 'journal.jsonl'),
    address: join(hidden, 'agent.json'),
    cache: join(hidden, 'cache'),
    trash: join(hidden, 'trash'),
    uploads: join(hidden, 'uploads'),
    installs: join(hidden, 'installs'),
    snapshots: join(hidden, 'snapshots'),
    builds: join(hidden, 'builds'),
    java: join(hidden, 'java'),
    javaStaging: join(hidden, 'java-staging'),
    servers,
    server: id => {
      const state = join(servers, id);
      return {
        folder: join(workDir, id),
        state,
        lock: join(state, 'lock'),
        lease: join(state, 'lease'),
        facts: join(state, 'server.json'),
        runs: join(state, 'runs'),
      };
    },
  };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isServerId(id: string): boolean {
  return UUID.test(id);
}

/** Ids name folders: only UUIDs pass, lower-cased. */
export function parseServerId(id: string): string {
  const lower = id.toLowerCase();
  if (!isServerId(lower)) throw new AgentError('invalid-request', 'server_id must be a UUID');
  return lower;
}

/** A plain name inside one folder: no separators, no control characters, nothing hidden, and so no `..`. */
export function parseFileName(name: string, field: string): string {
  if (!/^[^./\\\p{Cc}][^/\\\p{Cc}]*$/u.test(name) || Buffer.byteLength(name) > 200) {
    throw new AgentError('invalid-request', `${field} must be a plain file name`);
  }
  return name;
}
