import { join } from 'node:path';
import { isMissing } from '../errors.js';
import { type ArtifactCache, placeFile } from './artifactCache.js';
import type { BuildTools } from './buildTools.js';
import { type Checksum, hashFile } from './download.js';
import { fetchArtifact, type InstallOrder, type Installation } from './order.js';
import type { StepContext } from './step.js';

/** A jar that runs as it is. Known by the hash that its upstream gives, else by the one that it had when it came. */
export async function installJar(
  cache: ArtifactCache,
  context: StepContext,
  order: InstallOrder,
): Promise<Installation> {
  const { server } = context;
  const { fileName, key, source } = order;
  const known =
    source.checksum ?? (server.facts.artifact === key ? noted(server.facts.jarSha256) : undefined);
  if (known && (await isInPlace(join(server.paths.folder, fileName), known)))
    return jarInstallation(order, source.checksum ? undefined : known);
  const path = await fetchArtifact(cache, order, context);
  await place(path, context, fileName);
  if (source.checksum) return jarInstallation(order, undefined);
  return jarInstallation(order, { algorithm: 'sha256', hex: await hashFile(path, 'sha256') });
}

/** A jar that BuildTools makes: the one of an earlier server of that version, where there is one. */
export async function installBuilt(
  buildTools: BuildTools,
  context: StepContext,
  order: InstallOrder,
): Promise<Installation> {
  const { path, checksum } = await buildTools.jarOf(order, context);
  if (!(await isInPlace(join(context.server.paths.folder, order.fileName), checksum)))
    await place(path, context, order.fileName);
  return jarInstallation(order, checksum);
}

async function place(path: string, { server, report, signal }: StepContext, name: string): Promise<void> {
  signal.throwIfAborted();
  report({ phase: 'installing', percent: 100 });
  await placeFile(path, server.paths.folder, name);
}

function jarInstallation({ fileName, key }: InstallOrder, checksum: Checksum | undefined): Installation {
  return { jarFile: fileName, launch: undefined, artifact: key, jarSha256: checksum?.hex };
}

function noted(sha256: string | undefined): Checksum | undefined {
  return sha256 === undefined ? undefined : { algorithm: 'sha256', hex: sha256 };
}

async function isInPlace(path: string, checksum: Checksum): Promise<boolean> {
  try {
    return (await hashFile(path, checksum.algorithm)) === checksum.hex;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
