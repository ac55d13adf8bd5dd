import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { requireJdk } from './java.js';

const SOURCES = fileURLToPath(new URL('../fixtures/installers/', import.meta.url));
const JAVA_MAJOR = 17;
const run = promisify(execFile);

/** A jar that plays an installer, and how a test drives it. */
export interface InstallerJar {
  readonly path: string;
  /** Asks for something (`hold`, `fail`, `child`, `legacy`) until `takeBack`. */
  ask(name: string): Promise<void>;
  takeBack(name: string): Promise<void>;
  /** How often it has noted this (`runs`, `halfway`, `clones`). */
  count(name: string): Promise<number>;
  /** The folder in which it looks; it takes the server's jar from there, as `server.jar`. */
  readonly folder: string;
  remove(): Promise<void>;
}

/** Compiles a program of `test/fixtures/installers` and packs it as a jar that can be run. */
export async function buildInstallerJar(mainClass: 'ForgeInstaller' | 'BuildTools'): Promise<InstallerJar> {
  const { javacBin } = await requireJdk(JAVA_MAJOR);
  const folder = await mkdtemp(join(tmpdir(), 'aymc-installer-'));
  const classes = join(folder, 'classes');
  const sources = [`${mainClass}.java`, 'Control.java'].map(name => join(SOURCES, name));
  await run(javacBin, ['--release', String(JAVA_MAJOR), '-d', classes, ...sources]);
  await writeFile(join(classes, 'control.txt'), folder);
  const path = join(folder, `${mainClass}.jar`);
  const packing = ['--create', '--file', path, '--main-class', mainClass, '-C', classes, '.'];
  await run(join(dirname(javacBin), 'jar'), packing);
  return {
    path,
    folder,
    ask: name => writeFile(join(folder, name), ''),
    takeBack: name => rm(join(folder, name), { force: true }),
    count: async name =>
      (await readFile(join(folder, name), 'utf8').catch(() => '')).split('\n').filter(Boolean).length,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
