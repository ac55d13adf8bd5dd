import { execFile } from 'node:child_process';
import { access, constants, readFile, readdir, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

export interface Jdk {
  home: string;
  javaBin: string;
  javacBin: string;
  /** 8, 17, 21 … */
  major: number;
}

/** What the search depends on; a test may look in an environment of its own. */
export interface SearchScope {
  env: NodeJS.ProcessEnv;
  userHome: string;
}

const run = promisify(execFile);
const macHome = 'Contents/Home';
const brewHome = `libexec/openjdk.jdk/${macHome}`;

/** Every JDK (a compiler is needed, so no mere JRE) in the usual places, each once, oldest first. */
export async function findJdks(scope: SearchScope = thisMachine()): Promise<Jdk[]> {
  const homes = new Set<string>();
  for (const home of await candidateHomes(scope)) {
    const real = await realpath(home).catch(() => undefined);
    if (real !== undefined) homes.add(real);
  }
  const jdks = await Promise.all([...homes].map(readJdk));
  return jdks.filter(jdk => jdk !== undefined).sort((a, b) => a.major - b.major);
}

/** The oldest JDK that is at least `min`: closest to what was asked for. Throws an Error naming every place looked at. */
export async function requireJdk(min: number, scope: SearchScope = thisMachine()): Promise<Jdk> {
  const jdks = await findJdks(scope);
  const jdk = jdks.find(({ major }) => major >= min);
  if (jdk) return jdk;
  const found = jdks.length === 0 ? 'none' : jdks.map(({ major, home }) => `${major} in ${home}`).join(', ');
  const places = [
    'JAVA_HOME*',
    'PATH',
    ...jdkParents(scope).map(({ parent, below }) => join(parent, '*', below)),
  ];
  throw new Error(`JDK ${min} or newer is missing (found: ${found}). Looked in ${places.join(', ')}`);
}

/** The path of `mvn`. Throws an Error naming every place looked at. */
export async function requireMaven(scope: SearchScope = thisMachine()): Promise<string> {
  const { env, userHome } = scope;
  const mavenHomes = [env.MAVEN_HOME, env.M2_HOME].filter(home => home !== undefined);
  const folders = [
    ...pathFolders(env),
    ...mavenHomes.map(home => join(home, 'bin')),
    '/usr/share/maven/bin',
    '/usr/local/bin',
    '/opt/homebrew/bin',
    join(userHome, '.sdkman/candidates/maven/current/bin'),
    ...(await children('/opt')).map(home => join(home, 'bin')),
  ];
  for (const folder of folders) {
    const mvn = join(folder, 'mvn');
    if (await isExecutable(mvn)) return mvn;
  }
  throw new Error(`Maven (mvn) is missing. Looked in PATH, MAVEN_HOME, M2_HOME, ${folders.join(', ')}`);
}

function thisMachine(): SearchScope {
  return { env: process.env, userHome: homedir() };
}

/** Folders whose children are JDKs, perhaps some way below the child. */
function jdkParents({ userHome }: SearchScope): { parent: string; below: string }[] {
  return [
    { parent: '/usr/lib/jvm', below: '' },
    { parent: '/opt', below: '' },
    { parent: '/opt/java', below: '' },
    { parent: join(userHome, '.sdkman/candidates/java'), below: '' },
    { parent: join(userHome, '.jdks'), below: '' },
    { parent: '/Library/Java/JavaVirtualMachines', below: macHome },
    { parent: join(userHome, 'Library/Java/JavaVirtualMachines'), below: macHome },
    { parent: '/opt/homebrew/opt', below: brewHome },
    { parent: '/usr/local/opt', below: brewHome },
  ];
}

async function candidateHomes(scope: SearchScope): Promise<string[]> {
  // JAVA_HOME itself, and JAVA_HOME_21_X64 as hosted CI machines set it.
  const fromEnv = Object.entries(scope.env).flatMap(([name, value]) =>
    name.startsWith('JAVA_HOME') && value ? [value] : [],
  );
  const fromPath = await Promise.all(
    // On PATH is usually a link; the JDK is where it leads to.
    pathFolders(scope.env).map(folder => realpath(join(folder, 'javac')).then(homeOf, () => undefined)),
  );
  const fromParents = await Promise.all(
    jdkParents(scope).map(async ({ parent, below }) =>
      (await children(parent)).map(home => join(home, below)),
    ),
  );
  return [...fromEnv, ...fromPath.filter(home => home !== undefined), ...fromParents.flat()];
}

function homeOf(javac: string): string {
  return dirname(dirname(javac));
}

async function readJdk(home: string): Promise<Jdk | undefined> {
  const javaBin = join(home, 'bin/java');
  const javacBin = join(home, 'bin/javac');
  if (!(await isExecutable(javaBin)) || !(await isExecutable(javacBin))) return undefined;
  const major = (await majorFromRelease(home)) ?? (await majorFromCompiler(javacBin));
  return major === undefined ? undefined : { home, javaBin, javacBin, major };
}

/** The JDK's `release` file answers in no time; nearly every build has it. */
async function majorFromRelease(home: string): Promise<number | undefined> {
  const release = await readFile(join(home, 'release'), 'utf8').catch(() => '');
  return majorOf(/^JAVA_VERSION="([^"]+)"/m.exec(release)?.[1]);
}

async function majorFromCompiler(javacBin: string): Promise<number | undefined> {
  const answer = await run(javacBin, ['-version'], { timeout: 10_000 }).catch(() => undefined);
  return majorOf(/^javac (\S+)/m.exec(`${answer?.stdout}\n${answer?.stderr}`)?.[1]); // before 9 it is on stderr
}

/** "25.0.3" → 25, and "1.8.0_392" → 8. */
function majorOf(version: string | undefined): number | undefined {
  const digits = /^(?:1\.)?(\d+)/.exec(version ?? '')?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function pathFolders(env: NodeJS.ProcessEnv): string[] {
  return (env.PATH ?? '').split(delimiter).filter(folder => folder !== '');
}

async function children(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.map(name => join(folder, name));
}

function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
