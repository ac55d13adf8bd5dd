import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { findJdks, requireJdk, requireMaven, type SearchScope } from '#test/harness/java.js';

describe('finding a JDK and Maven for the tests', () => {
  let dir: string;

  beforeEach(async () => {
    dir = await realpath(await mkdtemp(path.join(tmpdir(), 'jdks-')));
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function makeTool(file: string): Promise<void> {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, '#!/bin/sh\n');
    await chmod(file, 0o755);
  }

  async function makeJdk(home: string, version: string): Promise<string> {
    await makeTool(path.join(home, 'bin/java'));
    await makeTool(path.join(home, 'bin/javac'));
    await writeFile(path.join(home, 'release'), `IMPLEMENTOR="Test"\nJAVA_VERSION="${version}"\n`);
    return home;
  }

  /** JDKs of the machine itself are left out, whatever it has. */
  async function findOurs(scope: SearchScope): Promise<[number, string][]> {
    const jdks = await findJdks(scope);
    return jdks
      .filter(({ home }) => home.startsWith(dir))
      .map(({ major, home }) => [major, path.relative(dir, home)]);
  }

  it('looks in JAVA_HOME, behind links on PATH and in the user’s folders, and lists each JDK once', async () => {
    const inHome = await makeJdk(path.join(dir, 'a'), '98.0.1');
    await makeJdk(path.join(dir, '.sdkman/candidates/java/b'), '97');
    const onPath = await makeJdk(path.join(dir, 'c'), '1.96.0_392');
    await mkdir(path.join(dir, 'links'));
    await symlink(path.join(onPath, 'bin/javac'), path.join(dir, 'links/javac'));
    await symlink(inHome, path.join(dir, '.sdkman/candidates/java/current'));

    const env = { JAVA_HOME: inHome, PATH: path.join(dir, 'links') };
    expect(await findOurs({ env, userHome: dir })).to.deep.equal([
      [96, 'c'],
      [97, '.sdkman/candidates/java/b'],
      [98, 'a'],
    ]);
  });

  it('does not take a JRE for a JDK', async () => {
    await makeTool(path.join(dir, 'jre/bin/java'));
    expect(await findOurs({ env: { JAVA_HOME: path.join(dir, 'jre') }, userHome: dir })).to.deep.equal([]);
  });

  it('says which version is missing, what there is and where it looked', async () => {
    const home = await makeJdk(path.join(dir, 'old'), '17.0.2');
    const error = await requireJdk(99, { env: { JAVA_HOME: home }, userHome: dir }).catch(
      (failure: unknown) => failure,
    );
    expect(String(error))
      .to.contain('JDK 99 or newer is missing')
      .and.contain(`17 in ${home}`)
      .and.contain('/usr/lib/jvm')
      .and.contain(path.join(dir, '.sdkman/candidates/java'));
  });

  it('takes Maven from PATH', async () => {
    await makeTool(path.join(dir, 'bin/mvn'));
    expect(await requireMaven({ env: { PATH: path.join(dir, 'bin') }, userHome: dir })).to.equal(
      path.join(dir, 'bin/mvn'),
    );
  });
});
