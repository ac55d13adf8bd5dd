import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.js';
import {
  exists,
  parseJsonRecord,
  readdirIfThere,
  readTextIfThere,
  textOf,
  writeFileDurably,
} from '../files.js';
import { isJar } from '../jar.js';
import type { Checksum } from './download.js';
import { type InstallerDeps, runInstallerJar } from './installerJar.js';
import { endInstallers } from './installerProcess.js';
import { fetchArtifact, type InstallOrder } from './order.js';
import { aborted, type StepContext } from './step.js';

const LIMIT_MS = 60 * 60_000;
/** Sources and objects of one version take a gigabyte: those of the versions that were built last are kept. */
const WORKPLACES_MAX = 3;

export interface BuiltJar {
  /** The cache's: copy it, don't move it. */
  readonly path: string;
  readonly checksum: Checksum;
}

interface Workplace {
  /** What git and Maven have brought; kept for the next try. BuildTools runs in it, and is known by it. */
  readonly work: string;
  readonly out: string;
  /** There from before a build until it has succeeded. */
  readonly begun: string;
  /** Which content in the cache this version's jar is. */
  readonly built: string;
}

/**
 * SpigotMC's BuildTools: one build at a time, as one takes a whole machine for minutes. What it made for a version goes
 * into the cache and serves every later server of that version.
 */
export class BuildTools {
  #building: Promise<BuiltJar> | undefined;

  constructor(private readonly deps: InstallerDeps) {}

  /** The jar of the order's version, built now if it never was. Throws `install-failed` and what downloads throw. */
  async jarOf(order: InstallOrder, context: StepContext): Promise<BuiltJar> {
    const place = workplaceOf(this.deps.paths.builds, order.minecraftVersion);
    for (;;) {
      const made = await this.#builtBefore(place);
      if (made) return made;
      if (this.#building === undefined) break;
      context.report({ phase: 'waiting for another build' });
      await Promise.race([Promise.allSettled([this.#building]), aborted(context.signal)]);
    }
    this.#building = this.#build(place, order, context).finally(() => (this.#building = undefined));
    return this.#building;
  }

  async #builtBefore({ built }: Workplace): Promise<BuiltJar | undefined> {
    const record = parseJsonRecord((await readTextIfThere(built)) ?? '');
    const hex = record && textOf(record, 'sha256');
    if (hex === undefined || !/^[0-9a-f]{64}$/.test(hex)) return undefined;
    const checksum: Checksum = { algorithm: 'sha256', hex };
    const path = await this.deps.cache.find(checksum);
    return path === undefined ? undefined : { path, checksum };
  }

  async #build(place: Workplace, order: InstallOrder, context: StepContext): Promise<BuiltJar> {
    const { cache, paths } = this.deps;
    const tools = await fetchArtifact(cache, order, context);
    await endInstallers(place.work);
    const brokenOff = await exists(place.begun);
    await rm(place.out, { recursive: true, force: true });
    for (const folder of [place.work, place.out]) await mkdir(folder, { recursive: true });
    await removeGitLocks(place.work);
    await writeFileDurably(place.begun, '');
    try {
      await runInstallerJar(this.deps, context, order, {
        jar: tools,
        args: ['--rev', order.minecraftVersion, '--output-dir', place.out],
        folder: place.work,
        limitMs: LIMIT_MS,
        phase: 'building',
      });
    } catch (error) {
      // What it can't go on from, it must not go on from for ever.
      const failed = error instanceof AgentError && error.code === 'install-failed';
      if (failed && brokenOff) await rm(place.work, { recursive: true, force: true });
      throw error;
    }
    const checksum = await cache.put(await findResult(place.out, order.minecraftVersion));
    await writeFileDurably(place.built, JSON.stringify({ sha256: checksum.hex }));
    await rm(place.begun, { force: true });
    await forgetOldWork(paths.builds);
    const path = await cache.find(checksum);
    if (path === undefined) throw new AgentError('install-failed', 'the built jar did not stay as it was');
    return { path, checksum };
  }
}

/** Throws `invalid-request`: the version names a folder and is an argument. */
function workplaceOf(builds: string, version: string): Workplace {
  if (!/^[0-9A-Za-z][\w.+-]{0,63}$/.test(version))
    throw new AgentError('invalid-request', 'minecraft_version is no version');
  const root = join(builds, version);
  return {
    work: join(root, 'work'),
    out: join(root, 'out'),
    begun: join(root, 'begun'),
    built: join(root, 'built.json'),
  };
}

/** It may have made a CraftBukkit beside it. */
async function findResult(out: string, version: string): Promise<string> {
  const jars = (await readdir(out)).filter(name => name.endsWith('.jar'));
  const name = jars.find(jar => jar === `spigot-${version}.jar`) ?? (jars.length === 1 ? jars[0] : undefined);
  if (name === undefined || !(await isJar(join(out, name))))
    throw new AgentError('install-failed', 'BuildTools ended well but left no spigot jar');
  return join(out, name);
}

/** A git that was killed leaves locks that no other one passes. Only called when none runs. */
async function removeGitLocks(work: string): Promise<void> {
  for (const repository of await readdir(work)) {
    const git = join(work, repository, '.git');
    for (const name of await readdirIfThere(git, { recursive: true }))
      if (name.endsWith('.lock')) await rm(join(git, name), { force: true });
  }
}

/** The results stay in the cache. */
async function forgetOldWork(builds: string): Promise<void> {
  const places = await Promise.all(
    (await readdir(builds)).map(async version => {
      const { work } = workplaceOf(builds, version);
      const usedAtMs = await stat(join(builds, version)).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      );
      return { work, usedAtMs };
    }),
  );
  places.sort((a, b) => b.usedAtMs - a.usedAtMs);
  for (const { work } of places.slice(WORKPLACES_MAX)) await rm(work, { recursive: true, force: true });
}
