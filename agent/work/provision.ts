import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Artifact, ProvisionWork } from '#proto/gen/agent.js';
import { AgentError, isMissing } from '../errors.js';
import type { JavaInstaller } from '../java/install.js';
import { parseFileName } from '../server/paths.js';
import { type ArtifactCache, placeFile } from './artifactCache.js';
import { type Checksum, hashFile } from './download.js';
import { applySettings } from './settings.js';
import type { StepContext } from './step.js';

export interface ProvisionDeps {
  readonly cache: ArtifactCache;
  readonly installer: JavaInstaller;
}

/**
 * Puts the verified jar and the files of a first start in place. Looks before it acts, so taking it up again after a
 * crash of ours does only what is still missing; the jar's last step is a rename, so a server has the whole jar or the
 * one it had before. A cancel keeps what has been downloaded.
 */
export async function provisionServer(
  { cache, installer }: ProvisionDeps,
  context: StepContext,
  work: ProvisionWork,
): Promise<void> {
  const { server, report, signal } = context;
  const { artifact, settings } = work;
  if (!artifact) throw new AgentError('invalid-request', 'provision needs an artifact');
  const fileName = parseFileName(artifact.fileName || 'server.jar', 'artifact.file_name');
  const checksum = strongestOf(artifact);
  const { folder } = server.paths;

  await server.look();
  if (server.alive) throw new AgentError('server-running', 'a running server is not provisioned');
  await mkdir(folder, { recursive: true });
  if (work.java) await installer.ensure(work.java, context);
  report({ phase: 'checking' });
  if ((await hashIfThere(join(folder, fileName), checksum)) !== checksum.hex) {
    report({ phase: 'downloading', percent: 0 });
    const path = await cache.get(checksum, {
      url: artifact.url,
      sizeBytes: artifact.sizeBytes,
      signal,
      onProgress: (bytesDone, bytesTotal) =>
        report({
          phase: 'downloading',
          percent: bytesTotal > 0 ? (100 * bytesDone) / bytesTotal : -1,
          bytesDone,
          bytesTotal,
        }),
    });
    signal.throwIfAborted();
    report({ phase: 'installing', percent: 100 });
    await placeFile(path, folder, fileName);
  }
  if (settings) await applySettings(folder, settings);
  await server.saveFacts({ jarFile: fileName, ...(settings && { port: settings.port }) });
}

function strongestOf({ sha256, sha1 }: Artifact): Checksum {
  if (/^[0-9a-f]{64}$/.test(sha256)) return { algorithm: 'sha256', hex: sha256 };
  if (sha256 === '' && /^[0-9a-f]{40}$/.test(sha1)) return { algorithm: 'sha1', hex: sha1 };
  throw new AgentError('invalid-request', 'the artifact needs a sha256 or sha1 in lower-case hex');
}

async function hashIfThere(path: string, checksum: Checksum): Promise<string | undefined> {
  try {
    return await hashFile(path, checksum.algorithm);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
