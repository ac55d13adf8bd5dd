import type { Calls } from './calls.js';
import { filesOfVersion1 } from './filesOfVersion1.js';
import { filesOfVersion2 } from './filesOfVersion2.js';
import type { AgentAddress, AgentFiles, CallOptions } from './gateway.js';
import type { Versions } from './versions.js';

/** So long an agent that was upgraded is spoken to as before. */
const REMEMBERED_MS = 60_000;
const REMEMBERED_MAX = 4096;

/** Speaks to each agent as it can, which it is asked once a minute. */
export function createAgentFiles(
  calls: Calls,
  versions: Versions,
): AgentFiles & { forget: (agentId: string) => void } {
  const modern = filesOfVersion2(calls);
  const old = filesOfVersion1(calls);
  /** Oldest first; entries go by forget, age or beyond the bound. */
  const known = new Map<string, { at: number; files: AgentFiles }>();

  async function filesOf(agent: AgentAddress, options: CallOptions): Promise<AgentFiles> {
    const found = known.get(agent.id);
    if (found && performance.now() - found.at < REMEMBERED_MS) return found.files;
    const files = (await can(agent, options)) ? modern : old;
    known.delete(agent.id);
    known.set(agent.id, { at: performance.now(), files });
    const [oldest] = known.keys();
    if (known.size > REMEMBERED_MAX && oldest !== undefined) known.delete(oldest);
    return files;
  }

  async function can(agent: AgentAddress, options: CallOptions): Promise<boolean> {
    return (await versions.hello(agent, options))?.capabilities.includes('files') ?? false;
  }

  return {
    list: async (agent, folder, options = {}) => (await filesOf(agent, options)).list(agent, folder, options),
    download: async (agent, file, range, options = {}) =>
      (await filesOf(agent, options)).download(agent, file, range, options),
    upload: async (agent, file, rules, content, options = {}) =>
      (await filesOf(agent, options)).upload(agent, file, rules, content, options),
    remove: async (agent, file, options = {}) => (await filesOf(agent, options)).remove(agent, file, options),
    makeFolder: async (agent, folder, options = {}) =>
      (await filesOf(agent, options)).makeFolder(agent, folder, options),
    rename: async (agent, file, to, options = {}) =>
      (await filesOf(agent, options)).rename(agent, file, to, options),
    forget: agentId => known.delete(agentId),
  };
}
