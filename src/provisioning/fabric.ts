import Joi from 'joi';
import type { Artifact, ArtifactSource, ServerVersion } from './artifact.js';
import type { Upstream } from './upstream.js';

interface Component {
  version: string;
  stable: boolean;
}
const component = () =>
  Joi.object<Component>({ version: Joi.string().required(), stable: Joi.boolean().required() });
const componentsSchema = Joi.array().items<Component>(component()).required();

interface ForGame {
  loader: Component;
}
const loadersSchema = Joi.array()
  .items<ForGame>(Joi.object<ForGame>({ loader: component().required() }))
  .required();

/** It says 400 of a version that it can't make out, and may answer an empty list of one that it does not have. */
const ABSENT = [400, 404];

/**
 * Fabric's server launcher, by its meta API v2: made by the upstream for one version, loader and installer, without
 * a hash. It fetches Minecraft itself when it first starts.
 */
export function createFabricSource(meta: Upstream): ArtifactSource {
  const list = async (kind: 'game' | 'installer', signal?: AbortSignal): Promise<Component[]> => {
    const found = await meta.json(meta.url('versions', kind), componentsSchema, { signal });
    if (!found) throw meta.failed(`has no ${kind} versions`);
    return found;
  };

  return {
    async find({ version }, signal): Promise<Artifact | null> {
      const ofVersion = meta.url('versions', 'loader', version);
      const loaders = await meta.json(ofVersion, loadersSchema, { signal, absent: ABSENT });
      const loader = newestOf((loaders ?? []).map(entry => entry.loader));
      if (!loader) return null;
      const installer = newestOf(await list('installer', signal));
      if (!installer) throw meta.failed('has no installer');
      return {
        url: meta.url('versions', 'loader', version, loader.version, installer.version, 'server', 'jar'),
      };
    },

    versions: (signal): Promise<ServerVersion[]> => list('game', signal),
  };
}

/** Lists come newest first; of some nothing is stable yet. */
function newestOf(components: readonly Component[]): Component | undefined {
  return components.find(({ stable }) => stable) ?? components[0];
}
