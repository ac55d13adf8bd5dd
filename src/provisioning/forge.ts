import Joi from 'joi';
import { compareVersions, isRelease } from '#src/domain/minecraftVersion.js';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import type { Upstream } from './upstream.js';

const promotionsSchema = Joi.object<{ promos: Record<string, string> }, true>({
  promos: Joi.object().pattern(Joi.string(), Joi.string()).required(),
});

export interface ForgeUpstreams {
  /** Where the installers and their checksums lie. */
  maven: Upstream;
  /** Where it is said which build is meant for a version. */
  files: Upstream;
}

/** Minecraft version → its build, by promotion. */
type Promotions = Map<string, { recommended?: string; latest?: string }>;

/** Forge's installer of the recommended build, else the latest; the agent runs it. */
export function createForgeSource({ maven, files }: ForgeUpstreams): ArtifactSource {
  const forge = ['net', 'minecraftforge', 'forge'] as const;

  const promotions = async (signal?: AbortSignal): Promise<Promotions> => {
    const found = await files.json(files.url(...forge, 'promotions_slim.json'), promotionsSchema, { signal });
    if (!found) throw files.failed('has no promotions');
    return byVersion(found.promos);
  };

  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const promoted = (await promotions(signal)).get(version);
      const build = promoted?.recommended ?? promoted?.latest;
      if (build === undefined) return null;
      for (const long of longNames(version, build)) {
        const url = maven.url(...forge, long, `forge-${long}-installer.jar`);
        const sha1 = await readSha1(maven, url, signal);
        if (sha1 !== null) return { url, sha1, kind: 'forge-installer' };
      }
      return null;
    },

    async versions(signal): Promise<ServerVersion[]> {
      return [...(await promotions(signal)).keys()]
        .sort((a, b) => compareVersions(b, a))
        .map(version => ({ version, stable: isRelease(version) }));
    },
  };
}

/** `{"1.20.1-latest": "47.4.10"}` by version; versions may have a hyphen of their own. */
function byVersion(promos: Readonly<Record<string, string>>): Promotions {
  const found: Promotions = new Map();
  for (const [key, build] of Object.entries(promos)) {
    const [, version, kind] = /^(.+)-(recommended|latest)$/.exec(key) ?? [];
    if (version !== undefined && kind !== undefined) {
      found.set(version, { ...found.get(version), [kind]: build });
    }
  }
  return found;
}

/** Today's name of a build, and the two of old ones. */
function longNames(version: string, build: string): string[] {
  const long = `${version}-${build}`;
  return [long, `${long}-${version}`, `${long}-mc172`];
}

/** Of the file beside it; null when there is none, and so no installer. */
async function readSha1(maven: Upstream, url: string, signal?: AbortSignal): Promise<string | null> {
  const text = await maven.text(`${url}.sha1`, { signal });
  if (text === null) return null;
  const sha1 = /^\s*([0-9a-f]{40})\b/i.exec(text)?.[1];
  if (sha1 === undefined) throw maven.failed('sent no checksum');
  return sha1.toLowerCase();
}
