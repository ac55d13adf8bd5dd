import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { AgentError } from '../../agent/errors.js';
import { isJar, readJarEntry, requiredJavaMajor } from '../../agent/jar.js';
import { JavaCatalogue } from '../../agent/java.js';
import { tinyJar } from '#test/harness/fakeJava.js';
import { requireJdk } from '#test/harness/java.js';

const run = promisify(execFile);

describe('agent Java', function () {
  this.timeout(30_000);
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-java-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** A runtime in the agent's own folder, which says its version in a `release` file or only when it is run. */
  async function install(name: string, version: string, release = true): Promise<void> {
    const home = join(folder, name);
    await mkdir(join(home, 'bin'), { recursive: true });
    const script = `#!/bin/sh\necho x >> '${home}/asked'\necho 'openjdk version "${version}" 2024-01-01' >&2\n`;
    await writeFile(join(home, 'bin/java'), script);
    await chmod(join(home, 'bin/java'), 0o755);
    if (release) await writeFile(join(home, 'release'), `IMPLEMENTOR="x"\nJAVA_VERSION="${version}"\n`);
  }

  const catalogue = (): JavaCatalogue =>
    new JavaCatalogue({ javaHome: undefined, path: '/nowhere', home: '/nowhere', managed: folder });

  async function chosen(wish: { major: number; pinned?: boolean; compiledFor?: number }): Promise<string> {
    const { path } = await catalogue().choose({ pinned: false, compiledFor: undefined, ...wish });
    return path.slice(folder.length + 1).split('/')[0] ?? path;
  }

  it('asks a runtime for its version once, and again only when its file changes', async () => {
    await install('old', '1.8.0_412', false);
    const java = catalogue();
    for (let i = 0; i < 3; i++) {
      const found = (await java.find()).find(({ path }) => path.startsWith(folder));
      expect(found).to.include({ major: 8, version: '1.8.0_412' });
    }
    expect((await readFile(join(folder, 'old/asked'), 'utf8')).trim().split('\n')).to.have.lengthOf(1);
  });

  it('takes the oldest runtime that is new enough, exactly the pinned one, or names what is missing', async () => {
    await install('a-98', '98.0.1');
    await install('b-97', '97.0.1');
    await install('c-96', '96');
    expect(await chosen({ major: 97 })).to.equal('b-97');
    expect(await chosen({ major: 96, pinned: true })).to.equal('c-96');
    expect(await chosen({ major: 0, compiledFor: 98 })).to.equal('a-98');
    const refusal = await catalogue()
      .choose({ major: 99, pinned: false, compiledFor: undefined })
      .catch((error: unknown) => error);
    expect(refusal).to.be.instanceOf(AgentError).with.property('code', 'java-missing');
    expect(String(refusal)).to.match(/Java 99.*96, 97, 98/);
  });

  it('takes the operator’s JAVA_HOME when nobody says which, and it is new enough', async () => {
    await install('a-98', '98.0.1');
    const home = join(folder, 'b-99');
    await install('b-99', '99.0.1');
    const java = new JavaCatalogue({ javaHome: home, path: '/nowhere', home: '/nowhere', managed: folder });
    const any = { major: 0, pinned: false };
    expect((await java.choose({ ...any, compiledFor: 98 })).major).to.equal(99);
    expect((await java.choose({ ...any, major: 98, compiledFor: 98 })).major).to.equal(98);
  });

  it('does not start a server with a pinned Java that its jar is too new for', async () => {
    await install('a-96', '96');
    await install('b-98', '98');
    const refusal = await catalogue()
      .choose({ major: 96, pinned: true, compiledFor: 98 })
      .catch((error: unknown) => error);
    expect(refusal).to.be.instanceOf(AgentError).with.property('code', 'java-missing');
  });

  it('passes over what is not a runnable Java', async () => {
    await install('broken', 'not a version', false);
    await mkdir(join(folder, 'empty'));
    await writeFile(join(folder, 'a-file'), '');
    expect((await catalogue().find()).filter(({ path }) => path.startsWith(folder))).to.deep.equal([]);
  });

  describe('jar', () => {
    it('tells for which Java its main class was compiled', async () => {
      const jdk = await requireJdk(17);
      await writeFile(
        join(folder, 'Main.java'),
        'public class Main { public static void main(String[] a) {} }',
      );
      await run(jdk.javacBin, ['--release', '11', '-d', folder, join(folder, 'Main.java')]);
      const jar = join(folder, 'main.jar');
      await run(join(jdk.home, 'bin/jar'), [
        '--create',
        '--file',
        jar,
        '--main-class',
        'Main',
        '-C',
        folder,
        'Main.class',
      ]);
      expect(await requiredJavaMajor(jar)).to.equal(11);
      expect(await isJar(jar)).to.equal(true);
    });

    it('is recognised only when it is whole', async () => {
      const path = join(folder, 'x.jar');
      await writeFile(path, tinyJar('content'));
      expect(await isJar(path)).to.equal(true);
      expect((await readJarEntry(path, 'hello.txt'))?.toString()).to.equal('content');
      expect(await readJarEntry(path, 'none')).to.equal(undefined);
      await writeFile(path, tinyJar('content').subarray(0, -10));
      expect(await isJar(path)).to.equal(false);
      await writeFile(path, '<html>404</html>');
      expect(await isJar(path)).to.equal(false);
      expect(await requiredJavaMajor(path)).to.equal(undefined);
      expect(await isJar(join(folder, 'none'))).to.equal(false);
    });
  });
});
