import Joi from 'joi';
import { compareVersions, isRelease } from '#src/domain/minecraftVersion.js';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import type { Upstream } from './upstream.js';

/** `name`: of the build. `javaVersions`: lowest and highest class file version; absent on old ones. */
const versionSchema = Joi.object<{ name: string; javaVersions?: [number, number] }>({
  name: Joi.string().required(),
  javaVersions: Joi.array().ordered(Joi.number().integer().min(52).required(), Joi.number().integer()),
});

/** A class file says its Java by so much more. */
const CLASS_FILE_OFFSET = 44;
/** Of versions that don't say. */
const OLDEST_JAVA = 8;
const NEWEST_BUILD = ['jenkins', 'job', 'BuildTools', 'lastSuccessfulBuild', 'artifact', 'target'];

/** Spigot is nowhere to be had as a jar: the agent builds it with BuildTools, which come without a hash. */
export function createSpigotSource(hub: Upstream): ArtifactSource {
  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const found = await hub.json(hub.url('versions', `${version}.json`), versionSchema, { signal });
      if (!found) return null;
      const url = hub.url(...NEWEST_BUILD, 'BuildTools.jar');
      const lowest = found.javaVersions?.[0];
      const javaMajor = lowest === undefined ? OLDEST_JAVA : lowest - CLASS_FILE_OFFSET;
      return { url, kind: 'build-tools', javaMajor };
    },

    // The index of a folder, as web servers write it. Files that are named after builds alone are there too.
    async versions(signal): Promise<ServerVersion[]> {
      const index = await hub.text(hub.url('versions', ''), { signal });
      const found = [...(index ?? '').matchAll(/href="(\d+\.[\w.-]+)\.json"/g)].flatMap(([, id]) => id ?? []);
      if (found.length === 0) throw hub.failed('has no list of versions');
      return [...new Set(found)]
        .sort((a, b) => compareVersions(b, a))
        .map(version => ({ version, stable: isRelease(version) }));
    },
  };
}
