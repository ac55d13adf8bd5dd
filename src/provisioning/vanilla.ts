import Joi from 'joi';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import { sha1Hex } from './shapes.js';
import type { Upstream } from './upstream.js';

interface ManifestEntry {
  id: string;
  type: string;
  url: string;
  sha1: string;
}

const manifestSchema = Joi.object<{ versions: ManifestEntry[] }, true>({
  versions: Joi.array()
    .items(
      Joi.object({
        id: Joi.string().required(),
        type: Joi.string().required(),
        url: Joi.string().uri().required(),
        sha1: sha1Hex().required(),
      }),
    )
    .required(),
});

interface VersionFile {
  downloads: { server?: { url: string; sha1: string; size: number } };
  javaVersion?: { majorVersion: number };
}
const versionSchema = Joi.object<VersionFile>({
  downloads: Joi.object({
    server: Joi.object({
      url: Joi.string().uri().required(),
      sha1: sha1Hex().required(),
      size: Joi.number().integer().min(1).required(),
    }),
  }).required(),
  javaVersion: Joi.object({ majorVersion: Joi.number().integer().min(8).max(99).required() }),
});

/** Of versions that don't say. */
const OLDEST_JAVA = 8;

/** Mojang's own server, by its version manifest v2. */
export function createVanillaSource(mojang: Upstream): ArtifactSource {
  const manifest = async (signal?: AbortSignal): Promise<ManifestEntry[]> => {
    const url = mojang.url('mc', 'game', 'version_manifest_v2.json');
    const found = await mojang.json(url, manifestSchema, { signal });
    if (!found) throw mojang.failed('has no version manifest');
    return found.versions;
  };

  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const entry = (await manifest(signal)).find(({ id }) => id === version);
      if (!entry) return null;
      const file = await mojang.json(entry.url, versionSchema, { signal, sha1: entry.sha1 });
      const server = file?.downloads.server;
      if (!server) return null;
      const javaMajor = file.javaVersion?.majorVersion ?? OLDEST_JAVA;
      return { url: server.url, sha1: server.sha1, size: server.size, javaMajor };
    },

    // In the manifest's own order. Old alphas and betas are in it too, but mostly without a server.
    async versions(signal): Promise<ServerVersion[]> {
      return (await manifest(signal))
        .filter(({ type }) => type === 'release' || type === 'snapshot')
        .map(({ id, type }) => ({ version: id, stable: type === 'release' }));
    },
  };
}
