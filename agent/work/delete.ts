import { join } from 'node:path';
import type { AgentPaths } from '../server/paths.js';
import type { Registry } from '../server/registry.js';
import { moveToTrash } from '../trash.js';
import { endRun, STOP_TIMES } from './stop.js';
import type { StepContext } from './step.js';

/**
 * Stops what runs, then removes the server's folder and records. Both are first renamed away, so that from one moment
 * to the next the server is gone and its name free; the removal itself may take as long as the world is big, and goes
 * on after a crash (the trash is emptied at boot). Gone already = done.
 */
export async function deleteServer(
  paths: AgentPaths,
  registry: Registry,
  context: StepContext,
): Promise<void> {
  const { server, report, uncancellable } = context;
  await endRun(server, STOP_TIMES, uncancellable, report);
  report({ phase: 'removing' });
  const removals = [];
  for (const [kind, folder] of [
    ['files', server.paths.folder],
    ['state', server.paths.state],
    ['install', join(paths.installs, server.id)],
    ['snapshot', join(paths.snapshots, server.id)],
  ] as const)
    removals.push(await moveToTrash(paths, folder, `${server.id}-${kind}`));
  registry.remove(server.id);
  for (const remove of removals) await remove();
}
