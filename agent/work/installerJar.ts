import { requiredJavaMajor } from '../jar.js';
import { type JavaCatalogue, javaHomeOf } from '../java.js';
import type { AgentPaths } from '../server/paths.js';
import type { ArtifactCache } from './artifactCache.js';
import { runInstaller } from './installerProcess.js';
import type { InstallOrder } from './order.js';
import type { OwnContext } from './step.js';

export interface InstallerDeps {
  readonly cache: ArtifactCache;
  readonly java: JavaCatalogue;
  readonly paths: AgentPaths;
  readonly childEnv: Readonly<Record<string, string>>;
}

export interface InstallerRun {
  readonly jar: string;
  readonly args: readonly string[];
  /** Where it works, and what it is known by. */
  readonly folder: string;
  readonly limitMs: number;
  /** Of the progress, whose message is the last line that it has printed. */
  readonly phase: string;
}

/** Runs a jar that installs, on a Java that fits the order and the jar. Throws `java-missing`, and as runInstaller. */
export async function runInstallerJar(
  { java, childEnv }: Pick<InstallerDeps, 'java' | 'childEnv'>,
  { report, signal }: OwnContext,
  order: InstallOrder,
  { jar, args, folder, limitMs, phase }: InstallerRun,
): Promise<void> {
  const runtime = await java.choose({ ...order.java, compiledFor: await requiredJavaMajor(jar) });
  report({ phase, percent: -1 });
  await runInstaller({
    command: [runtime.path, '-jar', jar, ...args],
    folder,
    env: { ...childEnv, JAVA_HOME: javaHomeOf(runtime) },
    limitMs,
    signal,
    onLine: message => report({ phase, percent: -1, message }),
  });
}
