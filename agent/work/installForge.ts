import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.js';
import {
  exists,
  parseJsonRecord,
  readdirIfThere,
  readTextIfThere,
  syncFileSystem,
  textOf,
  writeFileDurably,
} from '../files.js';
import { parseStartFile, pathOf, type StartFile } from '../server/startFile.js';
import { type InstallerDeps, runInstallerJar } from './installerJar.js';
import { endInstallers } from './installerProcess.js';
import { moveTree } from './moveTree.js';
import { fetchArtifact, type InstallOrder, type Installation } from './order.js';
import type { StepContext } from './step.js';

const LIMIT_MS = 20 * 60_000;
/** The operator's, once it is there. */
const JVM_ARGS_FILE = 'user_jvm_args.txt';
/** Where the installers of Forge and NeoForge leave the arguments of a start, below a folder named after the version. */
const ARGS_FOLDERS = [
  'libraries/net/minecraftforge/forge',
  'libraries/net/neoforged/neoforge',
  'libraries/net/neoforged/forge',
] as const;

interface Staging {
  readonly root: string;
  /** What the installer makes. */
  readonly files: string;
  /** Written when all of it is there and on disk: of which artefact it is, and what to start. */
  readonly finished: string;
}

/**
 * Runs the installer of a Forge or NeoForge in a folder of ours and then moves what it has left into the server's. A
 * finished folder is taken up where an earlier agent has left it, halfway moved or not; an unfinished one is begun anew.
 */
export async function installForge(
  deps: InstallerDeps,
  context: StepContext,
  order: InstallOrder,
): Promise<Installation> {
  const { server, report, signal } = context;
  const { folder } = server.paths;
  const { artifact, launch } = server.facts;
  if (artifact === order.key && launch && (await exists(join(folder, pathOf(launch)))))
    return installationOf(order, launch);

  const { staging, launch: made } = await stageForge(deps, context, order);
  signal.throwIfAborted();
  report({ phase: 'installing', percent: 100 });
  if (await exists(join(folder, JVM_ARGS_FILE)))
    await rm(join(staging.files, JVM_ARGS_FILE), { force: true });
  await moveTree(staging.files, folder);
  if (!(await exists(join(folder, pathOf(made))))) {
    await rm(staging.finished, { force: true });
    throw new AgentError('install-failed', `${pathOf(made)} is gone; the next try runs the installer again`);
  }
  return installationOf(order, made);
}

/** The folder with what the installer made of this order, made now if there is none. */
export async function stageForge(
  deps: InstallerDeps,
  context: StepContext,
  order: InstallOrder,
): Promise<{ staging: Staging; launch: StartFile }> {
  const root = join(deps.paths.installs, context.server.id);
  const staging = { root, files: join(root, 'files'), finished: join(root, 'finished.json') };
  const launch = (await finishedOf(staging, order)) ?? (await makeInstall(deps, staging, context, order));
  return { staging, launch };
}

function installationOf({ key }: InstallOrder, launch: StartFile): Installation {
  const jarFile = 'jarFile' in launch ? launch.jarFile : undefined;
  return { jarFile, launch, artifact: key, jarSha256: undefined };
}

async function finishedOf({ finished }: Staging, { key }: InstallOrder): Promise<StartFile | undefined> {
  const record = parseJsonRecord((await readTextIfThere(finished)) ?? '');
  return record && textOf(record, 'artifact') === key ? parseStartFile(record['launch']) : undefined;
}

async function makeInstall(
  deps: InstallerDeps,
  staging: Staging,
  context: StepContext,
  order: InstallOrder,
): Promise<StartFile> {
  const jar = await fetchArtifact(deps.cache, order, context);
  await endInstallers(staging.root);
  await rm(staging.root, { recursive: true, force: true });
  await mkdir(staging.files, { recursive: true });
  await runInstallerJar(deps, context, order, {
    jar,
    args: ['--installServer', staging.files],
    folder: staging.root,
    limitMs: LIMIT_MS,
    phase: 'running installer',
  });
  const launch = await findStartFile(staging.files);
  if (!launch) throw new AgentError('install-failed', 'the installer left nothing that can be started');
  await syncFileSystem(staging.files);
  await writeFileDurably(staging.finished, JSON.stringify({ artifact: order.key, launch }));
  return launch;
}

/** Since Minecraft 1.17 a file of arguments; before that a jar, named after the version. */
async function findStartFile(files: string): Promise<StartFile | undefined> {
  for (const folder of ARGS_FOLDERS) {
    for (const version of (await readdirIfThere(join(files, folder))).sort()) {
      const argsFile = `${folder}/${version}/unix_args.txt`;
      if (await exists(join(files, argsFile))) return { argsFile };
    }
  }
  const jarFile = (await readdirIfThere(files))
    .sort()
    .find(
      name => /^(?:minecraft)?forge-[\w.+-]+\.jar$/.test(name) && !/-(?:installer|shim)\.jar$/.test(name),
    );
  return jarFile === undefined ? undefined : { jarFile };
}
