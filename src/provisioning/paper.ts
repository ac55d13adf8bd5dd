import Joi from 'joi';
import { compareVersions, isRelease } from '#src/domain/minecraftVersion.js';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import { sha256Hex } from './shapes.js';
import type { Upstream } from './upstream.js';

interface Version {
  version: { id: string; java?: { version: { minimum: number } } };
}
const versionSchema = Joi.object<Version>({
  version: Joi.object({
    id: Joi.string().required(),
    java: Joi.object({
      version: Joi.object({ minimum: Joi.number().integer().min(8).max(99).required() }).required(),
    }),
  }).required(),
});
const versionsSchema = Joi.object<{ versions: Version[] }, true>({
  versions: Joi.array().items(versionSchema).required(),
});

interface Build {
  id: number;
  channel: string;
  downloads: { 'server:default'?: { url: string; size: number; checksums: { sha256: string } } };
}
const buildsSchema = Joi.array()
  .items<Build>(
    Joi.object<Build>({
      id: Joi.number().integer().required(),
      channel: Joi.string().required(),
      downloads: Joi.object({
        'server:default': Joi.object({
          url: Joi.string().uri().required(),
          size: Joi.number().integer().min(1).required(),
          checksums: Joi.object({ sha256: sha256Hex().required() }).required(),
        }),
      }).required(),
    }),
  )
  .required();

/** The channels of builds that are meant for everyone. */
const STABLE_CHANNELS = ['STABLE', 'RECOMMENDED'];

/** Paper, by PaperMC's download service (Fill v3). */
export function createPaperSource(fill: Upstream): ArtifactSource {
  const project = ['projects', 'paper', 'versions'] as const;

  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const known = await fill.json(fill.url(...project, version), versionSchema, { signal });
      if (!known) return null;
      const builds = await fill.json(fill.url(...project, version, 'builds'), buildsSchema, { signal });
      const download = bestOf(builds ?? [])?.downloads['server:default'];
      if (!download) return null;
      const javaMajor = known.version.java?.version.minimum;
      return {
        url: download.url,
        sha256: download.checksums.sha256,
        size: download.size,
        ...(javaMajor !== undefined && { javaMajor }),
      };
    },

    async versions(signal): Promise<ServerVersion[]> {
      const found = await fill.json(fill.url(...project), versionsSchema, { signal });
      if (!found) throw fill.failed('does not know Paper');
      return found.versions
        .map(({ version: { id, java } }) => ({
          version: id,
          stable: isRelease(id),
          ...(java && { java_major: java.version.minimum }),
        }))
        .sort((a, b) => compareVersions(b.version, a.version));
    },
  };
}

/** The highest that is stable, else the highest; the upstream's order is not relied on. */
function bestOf(builds: readonly Build[]): Build | undefined {
  const downloadable = builds
    .filter(({ downloads }) => downloads['server:default'])
    .toSorted((a, b) => b.id - a.id);
  return downloadable.find(({ channel }) => STABLE_CHANNELS.includes(channel)) ?? downloadable[0];
}
