import type { ServerType } from '#src/db/types.js';
import type { SourceOptions } from '#src/provisioning/sources.js';
import { serveFabric } from './fabric.js';
import { serveForge } from './forge.js';
import { serveMojang } from './mojang.js';
import { servePaper } from './paper.js';
import { servePurpur } from './purpur.js';
import type { LocalUpstream } from './serve.js';
import { serveSpigot } from './spigot.js';

export interface LocalUpstreams {
  of: Readonly<Record<ServerType, LocalUpstream>>;
  bases: SourceOptions['bases'];
  /** The settings that lead the control plane to them. */
  env: NodeJS.ProcessEnv;
  close(): Promise<void>;
}

/** What is run to make a server; this file, too, unless it is given. */
export interface ServedInstallers {
  forge?: Buffer;
  buildTools?: Buffer;
  /** Minecraft version → lowest and highest Java that BuildTools take for it, beside those that are there. */
  spigotBuilds?: Parameters<typeof serveSpigot>[1];
}

/** The upstreams of all server types, on this machine and in their true shape; every artefact is this file. */
export async function startUpstreams(
  file: Buffer,
  { forge: forgeInstaller = file, buildTools = file, spigotBuilds }: ServedInstallers = {},
): Promise<LocalUpstreams> {
  const of = {
    vanilla: await serveMojang(file),
    paper: await servePaper(file),
    purpur: await servePurpur(file),
    fabric: await serveFabric(file),
    forge: await serveForge(forgeInstaller),
    spigot: await serveSpigot(buildTools, spigotBuilds),
  };
  const { vanilla, paper, purpur, fabric, forge, spigot } = of;
  return {
    of,
    bases: {
      mojang: vanilla.url,
      paper: paper.url,
      purpur: purpur.url,
      fabric: fabric.url,
      forge: forge.url,
      forgeFiles: forge.url,
      spigot: spigot.url,
    },
    env: {
      MOJANG_URL: vanilla.url,
      PAPER_URL: paper.url,
      PURPUR_URL: purpur.url,
      FABRIC_URL: fabric.url,
      FORGE_URL: forge.url,
      FORGE_FILES_URL: forge.url,
      SPIGOT_URL: spigot.url,
    },
    async close() {
      await Promise.all(Object.values(of).map(upstream => upstream.close()));
    },
  };
}
