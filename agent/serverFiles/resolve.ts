import { stat } from 'node:fs/promises';
import type { FilePath } from '#proto/gen/agent.js';
import { AgentError, isMissing } from '../errors.js';
import { leaves, resolvePath, type SafePath } from '../safePath.js';
import { type AgentPaths, parseServerId } from '../server/paths.js';

export interface ResolvedFile {
  readonly serverId: string;
  /** As asked for, tidied: what the caller knows it by. Empty = the server's folder. */
  readonly path: string;
  readonly safe: SafePath;
}

/**
 * Where a path leads. `last`: whether a link that the path ends in is followed, or is itself what is meant, as for
 * whoever removes it.
 */
export async function resolveFile(
  paths: AgentPaths,
  file: FilePath | undefined,
  last: 'followed' | 'kept',
): Promise<ResolvedFile> {
  if (file === undefined) throw new AgentError('invalid-request', 'the request names no file');
  const serverId = parseServerId(file.serverId);
  const components = componentsOf(file.path);
  await assertInstalled(paths.server(serverId).folder);
  const name = last === 'kept' ? components.at(-1) : undefined;
  const followed = name === undefined ? components : components.slice(0, -1);
  const { root, components: resolved } = await resolvePath(paths.workDir, serverId, followed);
  return {
    serverId,
    path: components.join('/'),
    safe: { root, components: name === undefined ? resolved : [...resolved, name] },
  };
}

function componentsOf(path: string): string[] {
  const components = path.split('/').filter(component => component !== '' && component !== '.');
  if (path.startsWith('/') || path.includes('\0') || components.includes('..')) throw leaves();
  return components;
}

async function assertInstalled(folder: string): Promise<void> {
  try {
    await stat(folder);
  } catch (error) {
    if (isMissing(error)) throw new AgentError('not-installed', 'the server has no folder on this host yet');
    throw error;
  }
}
