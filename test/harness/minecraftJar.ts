import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withFileLock } from './fileLock.js';
import { requireJdk, requireMaven } from './java.js';

export interface MinecraftJar {
  path: string;
  /** Lower-case hex. */
  sha256: string;
  /** Bytes. */
  size: number;
}

/** The first Java that runs the server; older ones refuse its classes. */
export const minecraftJavaMajor = 21;

const sources = fileURLToPath(new URL('../fixtures/minecraft-server/', import.meta.url));
const cache = fileURLToPath(new URL('../../.cache/minecraft-server/', import.meta.url));
/** Generous, because the first build on a machine also downloads its dependencies. */
const buildTimeoutMs = 10 * 60_000;

/**
 * The Minecraft server of `test/fixtures/minecraft-server` as a jar: built when its sources changed, else taken from `.cache`.
 * Processes that ask at the same time wait for one build. The jar appears by rename, so it is whole or not there at all.
 */
export async function buildMinecraftJar(): Promise<MinecraftJar> {
  const path = join(cache, await hashSources(), 'server.jar');
  if (!(await exists(path))) {
    await withFileLock(join(cache, 'build.lock'), async () => {
      if (!(await exists(path))) await build(path);
    });
  }
  const bytes = await readFile(path);
  return { path, sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}

async function build(path: string): Promise<void> {
  const [jdk, mvn] = await Promise.all([requireJdk(minecraftJavaMajor), requireMaven()]);
  // We hold the lock, so other build folders are those of killed processes; a Maven that outlived its own fails without it.
  for (const name of await readdir(cache)) {
    if (name.startsWith('build-')) await rm(join(cache, name), { recursive: true, force: true });
  }
  const buildDirectory = await mkdtemp(join(cache, 'build-'));
  try {
    await promisify(execFile)(mvn, ['-q', '-B', 'clean', 'package', `-DbuildDirectory=${buildDirectory}`], {
      cwd: sources,
      env: { ...process.env, JAVA_HOME: jdk.home },
      timeout: buildTimeoutMs,
    });
    await mkdir(join(path, '..'), { recursive: true });
    await rename(join(buildDirectory, 'server.jar'), path);
  } catch (cause) {
    const output = cause instanceof Error && 'stdout' in cause ? `:\n${String(cause.stdout)}` : '';
    throw new Error(`Maven could not build the Minecraft server${output}`, { cause });
  } finally {
    await rm(buildDirectory, { recursive: true, force: true });
  }
}

/** Over names and contents of everything that goes into the jar. */
async function hashSources(): Promise<string> {
  const names = (await readdir(join(sources, 'src'), { recursive: true })).map(name => join('src', name));
  const hash = createHash('sha256');
  for (const name of ['pom.xml', ...names.sort()]) {
    const file = join(sources, name);
    if (!(await stat(file)).isFile()) continue;
    hash
      .update(`${name}\0`)
      .update(await readFile(file))
      .update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The same program in other bytes, which no cache has yet: the zip's comment, its last field, is replaced. */
export function withComment(jar: Buffer, comment: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(Buffer.byteLength(comment));
  return Buffer.concat([jar.subarray(0, -2), length, Buffer.from(comment)]);
}
