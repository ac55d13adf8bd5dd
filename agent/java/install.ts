import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstallJavaWork, JavaPackage, JavaRuntime } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { renameIfThere, syncFolder } from '../files.js';
import { askByRunning, fits, type JavaCatalogue } from '../java.js';
import { Turns } from '../turns.js';
import type { ArtifactCache } from '../work/artifactCache.js';
import { bytesOf, type OwnContext } from '../work/step.js';
import { unpack, unusable } from './unpack.js';

export interface JavaInstallerDeps {
  readonly catalogue: JavaCatalogue;
  readonly cache: ArtifactCache;
  /** Where runtimes stand: the catalogue looks there. */
  readonly managed: string;
  /** Where they are made, on the same file system. Emptied at boot. */
  readonly staging: string;
  /** Where programs are looked for. */
  readonly path: string;
}

const MAJOR_MAX = 999;

/** Brings Java runtimes into the agent's own folder; no root needed. */
export class JavaInstaller {
  readonly #turns = new Turns();

  constructor(private readonly deps: JavaInstallerDeps) {}

  /**
   * A runtime that fits the package: one that is here, else the package's own, downloaded, verified, unpacked and tried
   * out. It appears by one rename, so a death of ours at any moment leaves none or a whole one, and the next try goes on
   * with what was downloaded. Many who ask at once get the same one. Throws `java-unusable` and what downloads throw.
   */
  async ensure(java: JavaPackage, context: OwnContext): Promise<JavaRuntime> {
    assertValid(java);
    const there = await this.#find(java);
    if (there) return there;
    const archive = await this.#download(java, context);
    context.signal.throwIfAborted();
    return this.#turns.take(java.sha256, async () => {
      const meanwhile = await this.#find(java);
      if (meanwhile) return meanwhile;
      context.signal.throwIfAborted();
      context.report({ phase: 'java', message: `unpacking Java ${java.major}` });
      return this.#install(archive, java, context.signal);
    });
  }

  /** The same as a step of its own. */
  async install({ java }: InstallJavaWork, context: OwnContext): Promise<void> {
    if (!java) throw new AgentError('invalid-request', 'install_java needs a package');
    await this.ensure(java, context);
  }

  async #find(java: JavaPackage): Promise<JavaRuntime | undefined> {
    return (await this.deps.catalogue.find()).find(({ major }) => fits(major, java.major, java.pinned));
  }

  #download(java: JavaPackage, { signal, report }: OwnContext): Promise<string> {
    const message = `downloading Java ${java.major}`;
    report({ phase: 'java', percent: 0, message });
    return this.deps.cache.get({
      checksum: { algorithm: 'sha256', hex: java.sha256 },
      url: java.url,
      content: 'gzip',
      sizeBytes: java.sizeBytes,
      contact: java.contact,
      signal,
      onProgress: bytesOf(report, { phase: 'java', message }),
    });
  }

  async #install(archive: string, java: JavaPackage, signal: AbortSignal): Promise<JavaRuntime> {
    const { managed, staging, path } = this.deps;
    await mkdir(managed, { recursive: true });
    await mkdir(staging, { recursive: true });
    const folder = await mkdtemp(join(staging, 'java-'));
    try {
      const unpacked = join(folder, 'unpacked');
      await mkdir(unpacked);
      await unpack(archive, unpacked, { path, signal });
      const [home, ...others] = await readdir(unpacked);
      if (home === undefined || others.length > 0) throw unusable('the archive has not one folder in it');
      const { major, version } = await tryOut(join(unpacked, home, 'bin', 'java'), java);
      const target = join(managed, `temurin-${major}-${version.replace(/[^\w.+-]/g, '_')}`);
      // What has that name and was not found is no runtime that works.
      await renameIfThere(target, join(folder, 'broken'));
      await rename(join(unpacked, home), target);
      await syncFolder(managed);
      return { path: join(target, 'bin', 'java'), major, version };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

async function tryOut(binary: string, java: JavaPackage): Promise<JavaRuntime> {
  const runtime = await askByRunning(binary);
  if (!runtime) throw unusable('the archive has no Java that runs on this machine');
  if (!fits(runtime.major, java.major, java.pinned))
    throw unusable(`the archive has Java ${runtime.version}, not ${java.major}`);
  return runtime;
}

function assertValid({ major, sha256 }: JavaPackage): void {
  if (major < 1 || major > MAJOR_MAX)
    throw new AgentError('invalid-request', 'java.major is no Java version');
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new AgentError('invalid-request', 'java needs a sha256 in lower-case hex');
}
