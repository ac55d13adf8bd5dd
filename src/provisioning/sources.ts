import type { UrlRule } from '#src/security/publicUrl.js';
import type { ArtifactSource } from './artifact.js';
import { createFabricSource } from './fabric.js';
import { createForgeSource } from './forge.js';
import { createPaperSource } from './paper.js';
import { createPurpurSource } from './purpur.js';
import { createSpigotSource } from './spigot.js';
import { Upstream, type UpstreamOptions } from './upstream.js';
import { createVanillaSource } from './vanilla.js';

export interface SourceOptions extends Pick<UpstreamOptions, 'userAgent' | 'timeoutMs' | 'maxBytes'> {
  /** Base URLs. */
  bases: Record<'mojang' | 'paper' | 'purpur' | 'fabric' | 'forge' | 'forgeFiles' | 'spigot', string>;
  /** For hosts that upstreams send us to. */
  urls: UrlRule;
}

export type Sources = ReturnType<typeof createSources>;

/** The source of every server type. Opens nothing; each call is requests of its own. */
export function createSources({ bases, ...options }: SourceOptions) {
  const upstream = (name: string, base: string) => new Upstream({ name, base, ...options });
  return {
    vanilla: createVanillaSource(upstream('Mojang', bases.mojang)),
    paper: createPaperSource(upstream('PaperMC', bases.paper)),
    purpur: createPurpurSource(upstream('Purpur', bases.purpur)),
    fabric: createFabricSource(upstream('Fabric', bases.fabric)),
    forge: createForgeSource({
      maven: upstream('Forge', bases.forge),
      files: upstream('Forge', bases.forgeFiles),
    }),
    spigot: createSpigotSource(upstream('Spigot', bases.spigot)),
  } as const satisfies Record<string, ArtifactSource>;
}
