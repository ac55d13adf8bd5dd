import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { requireJdk } from './java.js';

const run = promisify(execFile);

/** A major version that no machine has, so that only the archive's own Java fits. */
export const ARCHIVED_MAJOR = 99;
const VERSION = `${ARCHIVED_MAJOR}.0.8`;

export interface JavaArchive {
  path: string;
  /** Lower-case hex. */
  sha256: string;
  size: number;
  remove(): Promise<void>;
}

/** As Temurin's: a tar.gz with one folder. `fill` is given that folder. */
export async function packJava(fill: (home: string) => Promise<void>): Promise<JavaArchive> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-archive-'));
  const home = `jdk-${VERSION}+9-jre`;
  const path = join(folder, 'java.tar.gz');
  await mkdir(join(folder, home, 'bin'), { recursive: true });
  await fill(join(folder, home));
  await run('tar', ['-c', '-I', 'gzip -1', '-f', path, '-C', folder, home]);
  return archiveAt(path, folder);
}

export async function archiveAt(path: string, folder: string): Promise<JavaArchive> {
  const bytes = await readFile(path);
  return {
    path,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    size: bytes.length,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A `java` that can say its version and nothing else. */
export async function fillWithScript(home: string, version = VERSION): Promise<void> {
  const script = `#!/bin/sh\necho 'openjdk version "${version}" 2026-07-20' >&2\n`;
  await writeFile(join(home, 'bin/java'), script);
  await chmod(join(home, 'bin/java'), 0o755);
  await writeFile(join(home, 'release'), `IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="${version}"\n`);
}

/**
 * A real JVM, linked from this machine's JDK, which gives itself out for version 99: those of the machine would fit the
 * server just as well.
 */
export async function fillWithJvm(home: string): Promise<void> {
  const jdk = await requireJdk(17);
  await rm(home, { recursive: true });
  await run(join(jdk.home, 'bin/jlink'), ['--add-modules', 'java.base', '--output', home]);
  await rename(join(home, 'bin/java'), join(home, 'bin/java-of-this-machine'));
  const script = `#!/bin/sh
[ "$1" = -version ] || exec "\${0%/*}/java-of-this-machine" "$@"
echo 'openjdk version "${VERSION}" 2026-07-20' >&2
`;
  await writeFile(join(home, 'bin/java'), script);
  await chmod(join(home, 'bin/java'), 0o755);
  await writeFile(join(home, 'release'), `IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="${VERSION}"\n`);
}
