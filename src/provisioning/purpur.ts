import Joi from 'joi';
import { compareVersions, isRelease } from '#src/domain/minecraftVersion.js';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import { md5Hex } from './shapes.js';
import type { Upstream } from './upstream.js';

const projectSchema = Joi.object<{ versions: string[] }, true>({
  versions: Joi.array().items(Joi.string()).required(),
});

/** `md5`: null when the build failed and left no file. Builds have names, not numbers. */
interface Build {
  build: string;
  md5: string | null;
}
const buildSchema = Joi.object<Build, true>({
  build: Joi.string().required(),
  md5: md5Hex().allow(null).required(),
});

/** Purpur, by its API v2. md5 is the only hash that it gives. */
export function createPurpurSource(purpur: Upstream): ArtifactSource {
  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const latest = purpur.url('purpur', version, 'latest');
      const found = await purpur.json(latest, buildSchema, { signal });
      if (!found || found.md5 === null) return null;
      // Of that very build, for the hash is its own and `latest` another tomorrow.
      const url = purpur.url('purpur', version, found.build, 'download');
      return { url, md5: found.md5 };
    },

    async versions(signal): Promise<ServerVersion[]> {
      const found = await purpur.json(purpur.url('purpur'), projectSchema, { signal });
      if (!found) throw purpur.failed('does not know itself');
      return found.versions
        .toSorted((a, b) => compareVersions(b, a))
        .map(version => ({ version, stable: isRelease(version) }));
    },
  };
}
