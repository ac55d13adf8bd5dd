import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError, isMissing } from '../errors.js';
import { exists, syncFolder } from '../files.js';
import { loadFacts } from '../server/facts.js';
import type { AgentPaths } from '../server/paths.js';
import type { ManagedServer } from '../server/server.js';
import { moveToTrash } from '../trash.js';
import { copyTree } from './copyTree.js';
import { bytesOf, type StepContext } from './step.js';

export interface SnapshotDeps {
  readonly paths: AgentPaths;
  /** PATH, for the tools of the host. */
  readonly path: string;
}

interface Snapshot {
  /** Has the server's folder and our facts about it; there when it is whole. */
  readonly whole: string;
  /** While it is being made. */
  readonly part: string;
}

const FILES = 'files';
const FACTS = 'server.json';

/**
 * Copies the folder of a server that does not run, and what we know of it, for the operation of this step. A snapshot is
 * there as a whole or not at all. Throws `server-running`, `disk-full` before anything is written.
 */
export async function takeSnapshot(deps: SnapshotDeps, context: StepContext): Promise<void> {
  const { server, report, signal } = context;
  await assertStopped(server);
  const { whole, part } = snapshotOf(deps.paths, context);
  if (await exists(whole)) return;
  await rm(dirname(whole), { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  try {
    await copyTree({
      from: server.paths.folder,
      to: join(part, FILES),
      path: deps.path,
      signal,
      onProgress: bytesOf(report, { phase: 'copying' }),
    });
    await copyIfThere(server.paths.facts, join(part, FACTS));
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(part);
  await rename(part, whole);
  await syncFolder(dirname(whole));
}

/**
 * Puts the operation's snapshot in the place of the server's folder: from one moment to the next what came after it is
 * gone. Without one nothing was changed under its protection, or it has been put back already. Throws `server-running`.
 */
export async function revertToSnapshot({ paths }: SnapshotDeps, context: StepContext): Promise<void> {
  const { server, report } = context;
  await assertStopped(server);
  const { whole } = snapshotOf(paths, context);
  if (!(await exists(whole))) return;
  report({ phase: 'reverting' });
  const removals = [];
  const files = join(whole, FILES);
  if (await exists(files)) {
    // Taken up again after a crash between the two there may be no folder any more.
    removals.push(await moveToTrash(paths, server.paths.folder, `${server.id}-replaced`));
    await rename(files, server.paths.folder);
    await syncFolder(paths.workDir);
  }
  await server.replaceFacts(await loadFacts(join(whole, FACTS)));
  removals.push(await moveToTrash(paths, dirname(whole), `${server.id}-snapshot`));
  for (const remove of removals) await remove();
}

/** Removes the server's snapshot, and what was staged for it. */
export async function discardSnapshot({ paths }: SnapshotDeps, context: StepContext): Promise<void> {
  const { server, report } = context;
  report({ phase: 'removing' });
  const { whole } = snapshotOf(paths, context);
  const removals = [
    await moveToTrash(paths, dirname(whole), `${server.id}-snapshot`),
    await moveToTrash(paths, join(paths.installs, server.id), `${server.id}-install`),
  ];
  for (const remove of removals) await remove();
}

function snapshotOf(paths: AgentPaths, { server, opId }: StepContext): Snapshot {
  // An op id is a token: by itself it may be a name that leads elsewhere.
  const whole = join(paths.snapshots, server.id, `op-${opId}`);
  return { whole, part: `${whole}.part` };
}

async function assertStopped(server: ManagedServer): Promise<void> {
  await server.look();
  if (server.alive) throw new AgentError('server-running', 'the folder of a running server is left alone');
}

async function copyIfThere(from: string, to: string): Promise<void> {
  try {
    await copyFile(from, to);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
