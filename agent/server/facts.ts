import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { numberOf, parseJsonRecord, readTextIfThere, textOf, writeFileDurably } from '../files.js';
import { parseStartFile, type StartFile } from './startFile.js';

/** What was last said about a server; the process is described by its runs, not by this. */
export interface ServerFacts {
  readonly name?: string | undefined;
  readonly type?: string | undefined;
  readonly version?: string | undefined;
  readonly jarFile?: string | undefined;
  /** What an installer left to be started; whoever asks for a jar gets this instead. Not set for a plain jar. */
  readonly launch?: StartFile | undefined;
  /** Names the artefact that the server was installed from (cacheKey). */
  readonly artifact?: string | undefined;
  /** Of the jar, where the upstream publishes no hash of it. */
  readonly jarSha256?: string | undefined;
  /** The lowest Java that it runs on, where its upstream says so. */
  readonly javaMajor?: number | undefined;
  readonly port?: number | undefined;
  readonly javaVersion?: string | undefined;
  readonly memoryMinMb?: number | undefined;
  readonly memoryMaxMb?: number | undefined;
  readonly javaArgs?: readonly string[] | undefined;
}

/** An unreadable file counts as none: everything in it is said again by the next provision or start. */
export async function loadFacts(path: string): Promise<ServerFacts> {
  const record = parseJsonRecord((await readTextIfThere(path)) ?? '');
  if (record === undefined) return {};
  const args: unknown = record['javaArgs'];
  return {
    name: textOf(record, 'name'),
    type: textOf(record, 'type'),
    version: textOf(record, 'version'),
    jarFile: textOf(record, 'jarFile'),
    launch: parseStartFile(record['launch']),
    artifact: textOf(record, 'artifact'),
    jarSha256: textOf(record, 'jarSha256'),
    javaMajor: numberOf(record, 'javaMajor'),
    port: numberOf(record, 'port'),
    javaVersion: textOf(record, 'javaVersion'),
    memoryMinMb: numberOf(record, 'memoryMinMb'),
    memoryMaxMb: numberOf(record, 'memoryMaxMb'),
    javaArgs: Array.isArray(args) ? args.filter(arg => typeof arg === 'string') : undefined,
  };
}

/** What a start starts when it names no jar; undefined when nothing was installed. */
export function startFileOf({ launch, jarFile }: ServerFacts): StartFile | undefined {
  return launch ?? (jarFile === undefined ? undefined : { jarFile });
}

export async function saveFacts(path: string, facts: ServerFacts): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileDurably(path, JSON.stringify(facts));
}
