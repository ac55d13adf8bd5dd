import { execFile } from 'node:child_process';
import { readFile, readdir, realpath, stat } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { JavaRuntime } from '#proto/gen/agent.js';
import { AgentError } from './errors.js';

const runFile = promisify(execFile);
const PROBE_TIMEOUT_MS = 10_000;
const CACHED_MAX = 64;

export interface JavaPlaces {
  readonly javaHome: string | undefined;
  readonly path: string;
  readonly home: string;
  /** Where the agent itself installs runtimes. */
  readonly managed: string;
}

export interface JavaWish {
  /** 0 = whatever the jar needs. */
  readonly major: number;
  readonly pinned: boolean;
  /** What the jar's main class was compiled for. */
  readonly compiledFor: number | undefined;
}

/** What JAVA_HOME is for whatever runs on it. */
export function javaHomeOf({ path }: JavaRuntime): string {
  return join(path, '..', '..');
}

/**
 * The Java runtimes of this host. Looks afresh each time, since people install Java while we run; what a runtime says
 * of itself is asked once and kept for as long as its file does not change.
 */
export class JavaCatalogue {
  readonly #probed = new Map<string, JavaRuntime | undefined>();

  constructor(private readonly places: JavaPlaces) {}

  /** By major version, then by path. */
  async find(): Promise<JavaRuntime[]> {
    const binaries = new Set<string>();
    for (const home of await this.#homes()) {
      try {
        binaries.add(await realpath(join(home, 'bin', 'java')));
      } catch {
        continue; // no Java there
      }
    }
    const runtimes = await Promise.all([...binaries].map(path => this.#probe(path)));
    return runtimes
      .filter(runtime => runtime !== undefined)
      .sort((a, b) => a.major - b.major || a.path.localeCompare(b.path));
  }

  /**
   * Exactly the pinned version; the operator's JAVA_HOME when nobody says which; else the oldest that is new enough:
   * servers break more often on a Java newer than they know. Throws `java-missing`, naming what is there.
   */
  async choose(wish: JavaWish): Promise<JavaRuntime> {
    const runtimes = await this.find();
    const atLeast = Math.max(wish.major, wish.compiledFor ?? 0);
    const fitting = runtimes.filter(({ major }) => major >= atLeast && fits(major, wish.major, wish.pinned));
    const preferred = wish.major === 0 ? await this.#javaHomeBinary() : undefined;
    const chosen = fitting.find(({ path }) => path === preferred) ?? fitting[0];
    if (chosen) return chosen;
    const there = [...new Set(runtimes.map(({ major }) => major))].join(', ') || 'none';
    const pinnedTooOld = wish.pinned && atLeast > wish.major;
    const wanted = pinnedTooOld
      ? `${atLeast} (pinned to ${wish.major})`
      : `${atLeast}${wish.pinned ? '' : ' or newer'}`;
    throw new AgentError('java-missing', `the server needs Java ${wanted}; this agent has: ${there}`);
  }

  async #javaHomeBinary(): Promise<string | undefined> {
    const { javaHome } = this.places;
    if (javaHome === undefined) return undefined;
    try {
      return await realpath(join(javaHome, 'bin', 'java'));
    } catch {
      return undefined; // it is not a Java
    }
  }

  async #homes(): Promise<string[]> {
    const { javaHome, path, home, managed } = this.places;
    const parents = [
      '/usr/lib/jvm',
      '/usr/java',
      '/opt/java',
      '/opt',
      '/usr/local/lib/jvm',
      join(home, '.jdks'),
    ];
    parents.push(join(home, '.sdkman/candidates/java'), managed);
    const homes = javaHome === undefined ? [] : [javaHome];
    for (const folder of path.split(delimiter)) if (folder.endsWith('/bin')) homes.push(dirname(folder));
    for (const parent of parents) {
      try {
        for (const name of await readdir(parent)) homes.push(join(parent, name));
      } catch {
        continue; // not on this distribution
      }
    }
    return homes;
  }

  async #probe(path: string): Promise<JavaRuntime | undefined> {
    const { mtimeMs, mode } = await stat(path);
    if ((mode & 0o111) === 0) return undefined;
    const key = `${path}\0${mtimeMs}`;
    if (!this.#probed.has(key)) {
      if (this.#probed.size >= CACHED_MAX) this.#probed.clear();
      this.#probed.set(key, await askVersion(path));
    }
    return this.#probed.get(key);
  }
}

/** Exactly the pinned version, else at least the wanted one. */
export function fits(major: number, wanted: number, pinned: boolean): boolean {
  return pinned ? major === wanted : major >= wanted;
}

/** Every JDK since 9 has a `release` file beside `bin`; the others are run once. */
async function askVersion(path: string): Promise<JavaRuntime | undefined> {
  try {
    const release = await readFile(join(dirname(path), '..', 'release'), 'utf8');
    const runtime = runtimeOf(path, /^JAVA_VERSION="([^"]+)"/m.exec(release)?.[1]);
    if (runtime) return runtime;
  } catch {
    // no such file: ask the program
  }
  return askByRunning(path);
}

/** Undefined for what is not a Java that runs on this machine. */
export async function askByRunning(path: string): Promise<JavaRuntime | undefined> {
  try {
    const { stderr, stdout } = await runFile(path, ['-version'], { timeout: PROBE_TIMEOUT_MS });
    return runtimeOf(path, /version "([^"]+)"/.exec(stderr + stdout)?.[1]);
  } catch {
    return undefined;
  }
}

/** `1.8.0_412` is Java 8; since Java 9 the first number is the version. */
function runtimeOf(path: string, version: string | undefined): JavaRuntime | undefined {
  const match = /^(?:1\.)?(\d+)/.exec(version ?? '');
  return match && version !== undefined ? { path, major: Number(match[1]), version } : undefined;
}
