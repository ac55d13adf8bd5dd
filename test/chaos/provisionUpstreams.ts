import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerType } from '#src/db/types.js';
import { buildInstallerJar, type InstallerJar } from '#test/harness/installerJars.js';
import { type ServedRequest, serveJar } from '#test/harness/jarServer.js';
import { buildMinecraftJar, withComment } from '#test/harness/minecraftJar.js';
import { serveForge } from '#test/upstreams/forge.js';
import { serveMojang } from '#test/upstreams/mojang.js';

/** So that a download takes long enough to be struck in its middle. */
const SLOW_BYTES_PER_SECOND = 1_200_000;
const JAVA = 21;
/** Of the installer that the tests build. */
const FORGE_SERVER = 'libraries/net/minecraftforge/forge/1.20.1-47.4.0/forge-1.20.1-47.4.0-server.jar';

/** What a server is to become, and how its upstreams were asked for it so far. */
export interface Artifact {
  readonly type: ServerType;
  readonly version: string;
  /** What there is in the server's folder in the end, and its hash. */
  readonly file: string;
  readonly sha256: string;
  /** Of what is downloaded. */
  readonly bytes: number;
  /** For these bytes. */
  downloads(): readonly Pick<ServedRequest, 'range' | 'bytes'>[];
  /** What the artefact is. */
  questions(): number;
  /** The next download trickles. */
  slowDown(): void;
}

export interface Upstreams {
  /** Each a version of its own, from a host of its own. */
  readonly vanilla: readonly Artifact[];
  readonly forge: Artifact;
  readonly installer: InstallerJar;
  /** The settings that lead the control plane to them. */
  readonly env: NodeJS.ProcessEnv;
  close(): Promise<void>;
}

/** Mojang with so many versions, and Forge; on this machine. */
export async function startProvisionUpstreams(versions: number): Promise<Upstreams> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-upstreams-'));
  const [jar, installer] = await Promise.all([buildMinecraftJar(), buildInstallerJar('ForgeInstaller')]);
  const content = await readFile(jar.path);
  const served = await Promise.all(
    Array.from({ length: versions }, async (_, at) => {
      const version = `1.20.${at + 1}`;
      const bytes = withComment(content, version);
      const path = join(folder, `server-${version}.jar`);
      await writeFile(path, bytes);
      const host = await serveJar(path, { slowBytesPerSecond: SLOW_BYTES_PER_SECOND });
      return { version, bytes, host };
    }),
  );
  const mojang = await serveMojang(
    content,
    served.map(({ version, bytes, host }) => {
      const server = { url: host.url, sha1: hashOf(bytes, 'sha1'), size: bytes.length };
      return { id: version, type: 'release', java: JAVA, server };
    }),
  );
  const installerBytes = await readFile(installer.path);
  const forge = await serveForge(installerBytes);
  const asked = (of: typeof forge, end: string) =>
    of.requests.filter(({ path }) => path.endsWith(end)).length;
  return {
    installer,
    vanilla: served.map(({ version, bytes, host }) => ({
      type: 'vanilla',
      version,
      file: 'server.jar',
      sha256: hashOf(bytes, 'sha256'),
      bytes: bytes.length,
      downloads: () => host.requests,
      questions: () => asked(mojang, `/${version}.json`),
      slowDown: () => host.misbehave('slow', 1),
    })),
    forge: {
      type: 'forge',
      version: '1.20.1',
      file: FORGE_SERVER,
      sha256: jar.sha256,
      bytes: installerBytes.length,
      downloads: () =>
        Array.from({ length: asked(forge, '-installer.jar') }, () => {
          return { range: undefined, bytes: installerBytes.length };
        }),
      questions: () => asked(forge, '-installer.jar.sha1'),
      slowDown: () => undefined,
    },
    env: { MOJANG_URL: mojang.url, FORGE_URL: forge.url, FORGE_FILES_URL: forge.url },
    async close() {
      await Promise.all([mojang, forge, ...served.map(({ host }) => host)].map(server => server.close()));
      await installer.remove();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function hashOf(content: Buffer, algorithm: 'sha1' | 'sha256'): string {
  return createHash(algorithm).update(content).digest('hex');
}
