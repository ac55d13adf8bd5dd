import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { requireJdk } from './java.js';
import { buildMinecraftJar, type MinecraftJar } from './minecraftJar.js';

const SOURCES = fileURLToPath(new URL('../fixtures/installers/', import.meta.url));
const JAVA_MAJOR = 17;
const run = promisify(execFile);

/** A jar that plays an installer and carries the Minecraft server of the tests, and how a test drives it. */
export interface InstallerJar {
  readonly path: string;
  readonly serverJar: MinecraftJar;
  /** Asks for something (`hold`, `fail`, `child`, `legacy`) until `takeBack`. */
  ask(name: string): Promise<void>;
  takeBack(name: string): Promise<void>;
  /** How often it has noted this (`runs`, `halfway`, `clones`). */
  count(name: string): Promise<number>;
  remove(): Promise<void>;
}

export type InstallerName = 'ForgeInstaller' | 'BuildTools';

/**
 * Compiles a program of `test/fixtures/installers` and packs it as a jar that can be run. `build` is what it installs, as
 * a path in Maven's order; BuildTools are told by their arguments.
 */
export async function buildInstallerJar(
  mainClass: InstallerName,
  build = 'net/minecraftforge/forge/1.20.1-47.4.0',
): Promise<InstallerJar> {
  const [{ javacBin }, serverJar] = await Promise.all([requireJdk(JAVA_MAJOR), buildMinecraftJar()]);
  const folder = await mkdtemp(join(tmpdir(), 'aymc-installer-'));
  const classes = join(folder, 'classes');
  const sources = [`${mainClass}.java`, 'Control.java'].map(name => join(SOURCES, name));
  await run(javacBin, ['--release', String(JAVA_MAJOR), '-d', classes, ...sources]);
  await writeFile(join(classes, 'control.txt'), `${folder}\n${build}\n`);
  const path = join(folder, `${mainClass}.jar`);
  const contents = ['-C', classes, '.', '-C', dirname(serverJar.path), 'server.jar'];
  const packing = ['--create', '--no-compress', '--file', path, '--main-class', mainClass, ...contents];
  await run(join(dirname(javacBin), 'jar'), packing);
  return {
    path,
    serverJar,
    ask: name => writeFile(join(folder, name), ''),
    takeBack: name => rm(join(folder, name), { force: true }),
    count: async name =>
      (await readFile(join(folder, name), 'utf8').catch(() => '')).split('\n').filter(Boolean).length,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
