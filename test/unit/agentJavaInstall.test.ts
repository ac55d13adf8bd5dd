import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { AgentError } from '../../agent/errors.js';
import { JavaCatalogue } from '../../agent/java.js';
import { JavaInstaller } from '../../agent/java/install.js';
import { unpack } from '../../agent/java/unpack.js';
import { ArtifactCache } from '../../agent/work/artifactCache.js';
import type { JavaPackage, JavaRuntime } from '#proto/gen/agent.js';
import {
  archiveAt,
  ARCHIVED_MAJOR,
  fillWithScript,
  type JavaArchive,
  packJava,
} from '#test/harness/javaArchive.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';

const run = promisify(execFile);
const PATH = process.env['PATH'] ?? '';
const NAME = `temurin-${ARCHIVED_MAJOR}-${ARCHIVED_MAJOR}.0.8`;

describe('agent Java install', function () {
  this.timeout(20_000);
  let folder: string;
  let managed: string;
  let staging: string;
  let catalogue: JavaCatalogue;
  let installer: JavaInstaller;
  const cleanUps: (() => Promise<void>)[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-install-'));
    managed = join(folder, 'java');
    staging = join(folder, 'staging');
    catalogue = new JavaCatalogue({ javaHome: undefined, path: '/nowhere', home: '/nowhere', managed });
    const cache = new ArtifactCache(join(folder, 'cache'), () => false);
    installer = new JavaInstaller({ catalogue, cache, managed, staging, path: PATH });
  });

  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0)) await cleanUp();
    await rm(folder, { recursive: true, force: true });
  });

  async function served(archive: JavaArchive): Promise<{ upstream: JarServer; java: JavaPackage }> {
    const upstream = await serveJar(archive.path);
    cleanUps.push(
      () => upstream.close(),
      () => archive.remove(),
    );
    const { sha256, size: sizeBytes } = archive;
    return {
      upstream,
      java: { major: ARCHIVED_MAJOR, pinned: true, url: upstream.url, sha256, sizeBytes, contact: '' },
    };
  }

  function ensure(java: JavaPackage, signal = new AbortController().signal): Promise<JavaRuntime> {
    return installer.ensure(java, { signal, report: () => undefined });
  }

  async function codeOf(promise: Promise<unknown>): Promise<string> {
    const error: unknown = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error instanceof AgentError) return error.code;
    throw new Error('expected an AgentError', { cause: error });
  }

  /** The names of a folder; none when it is not there. */
  async function namesIn(path: string): Promise<string[]> {
    return readdir(path).catch(() => []);
  }

  it('puts the runtime into the agent’s own folder, where it is found at once', async () => {
    const { upstream, java } = await served(await packJava(fillWithScript));
    const runtime = await ensure(java);
    expect(runtime).to.deep.equal({
      path: join(managed, NAME, 'bin/java'),
      major: ARCHIVED_MAJOR,
      version: `${ARCHIVED_MAJOR}.0.8`,
    });
    expect(await catalogue.find()).to.deep.include(runtime);
    expect(await namesIn(staging)).to.deep.equal([]);
    expect(await ensure(java), 'asked again').to.deep.equal(runtime);
    expect(upstream.requests).to.have.lengthOf(1);
  });

  it('does it once, however many ask at once, and for all of them', async () => {
    const { upstream, java } = await served(await packJava(fillWithScript));
    const runtimes = await Promise.all([1, 2, 3].map(() => ensure(java)));
    expect(new Set(runtimes.map(({ path }) => path)).size).to.equal(1);
    expect(upstream.requests).to.have.lengthOf(1);
    expect(await namesIn(managed)).to.deep.equal([NAME]);
  });

  it('takes one that is new enough, unless it is pinned', async () => {
    await mkdir(join(managed, 'mine', 'bin'), { recursive: true });
    await fillWithScript(join(managed, 'mine'), '100.0.1');
    const { java } = await served(await packJava(fillWithScript));
    expect(await ensure({ ...java, pinned: false })).to.have.property('major', 100);
    expect(await ensure(java)).to.have.property('major', ARCHIVED_MAJOR);
  });

  it('replaces what has its name and does not work', async () => {
    await mkdir(join(managed, NAME), { recursive: true });
    await writeFile(join(managed, NAME, 'rest'), 'of an accident');
    const { java } = await served(await packJava(fillWithScript));
    await ensure(java);
    expect(await readdir(join(managed, NAME))).to.have.members(['bin', 'release']);
  });

  it('takes links that stay inside', async () => {
    const { java } = await served(
      await packJava(async home => {
        await fillWithScript(home);
        await symlink('../release', join(home, 'bin', 'notes'));
      }),
    );
    expect(await ensure(java)).to.have.property('major', ARCHIVED_MAJOR);
  });

  for (const [what, code, fill] of [
    ['whose Java is another one', 'java-unusable', (home: string) => fillWithScript(home, '98.0.1')],
    ['without a Java', 'java-unusable', (home: string) => writeFile(join(home, 'README'), 'nothing here')],
    [
      'with a link that leads out',
      'java-unusable',
      async (home: string) => {
        await fillWithScript(home);
        await symlink('/etc', join(home, 'conf'));
      },
    ],
    [
      'with a link that leads out by way of another',
      'java-unusable',
      async (home: string) => {
        await fillWithScript(home);
        await mkdir(join(home, 'x/y'), { recursive: true });
        await symlink('../..', join(home, 'x/y/up'));
        await symlink('x/y/up/../../..', join(home, 'out'));
      },
    ],
    [
      'with a pipe in it',
      'java-unusable',
      async (home: string) => {
        await fillWithScript(home);
        await run('mkfifo', [join(home, 'pipe')]);
      },
    ],
  ] as const) {
    it(`refuses an archive ${what}, and leaves nothing`, async () => {
      const { java } = await served(await packJava(fill));
      expect(await codeOf(ensure(java))).to.equal(code);
      expect(await namesIn(managed)).to.deep.equal([]);
      expect(await namesIn(staging)).to.deep.equal([]);
    });
  }

  it('refuses names that lead out, and writes nothing there', async () => {
    const place = await mkdtemp(join(tmpdir(), 'aymc-archive-'));
    await mkdir(join(place, 'jdk/bin'), { recursive: true });
    await fillWithScript(join(place, 'jdk'));
    await writeFile(join(place, 'escaped'), 'x');
    const path = join(place, 'java.tar.gz');
    const rename = 's,^escaped$,../../../../escaped,';
    await run('tar', ['-c', '-z', '-P', '-f', path, '-C', place, '--transform', rename, 'jdk', 'escaped']);
    const { java } = await served(await archiveAt(path, place));
    expect(await codeOf(ensure(java))).to.equal('java-unusable');
    expect(await readdir(folder)).to.have.members(['cache', 'java', 'staging']);
    expect(await namesIn(managed)).to.deep.equal([]);
  });

  it('refuses wrong content before it unpacks anything', async () => {
    const { upstream, java } = await served(await packJava(fillWithScript));
    expect(await codeOf(ensure({ ...java, url: upstream.urlWith('flipped-byte') }))).to.equal(
      'checksum-mismatch',
    );
    expect(await codeOf(ensure({ ...java, url: upstream.urlWith('html-page') }))).to.equal('java-unusable');
    expect(await codeOf(ensure({ ...java, sha256: 'nothing' }))).to.equal('invalid-request');
    expect(await codeOf(ensure({ ...java, major: 0 }))).to.equal('invalid-request');
    expect(await namesIn(staging)).to.deep.equal([]);
    expect(await ensure(java)).to.have.property('major', ARCHIVED_MAJOR);
  });

  it('does nothing more once it is cancelled', async () => {
    const { java } = await served(await packJava(fillWithScript));
    const abort = new AbortController();
    const cancelled = ensure(java, abort.signal);
    abort.abort(new Error('enough'));
    const error: unknown = await cancelled.catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(Error).with.property('message', 'enough');
    expect(await namesIn(managed)).to.deep.equal([]);
  });

  describe('unpacking', () => {
    let archive: JavaArchive;
    const into = (limits: { bytes: number; entries: number }): Promise<void> =>
      unpack(archive.path, staging, { path: PATH, signal: new AbortController().signal, limits });

    beforeEach(async () => {
      archive = await packJava(async home => {
        await fillWithScript(home);
        await writeFile(join(home, 'zeros'), Buffer.alloc(8 * 1024 * 1024));
        for (let i = 0; i < 50; i++) await writeFile(join(home, `file${i}`), '');
      });
      cleanUps.push(() => archive.remove());
      await mkdir(staging);
    });

    it('ends at its limits: a bomb is small until it is unpacked', async () => {
      expect((await stat(archive.path)).size).to.be.lessThan(200_000);
      expect(await codeOf(into({ bytes: 1024 * 1024, entries: 1000 }))).to.equal('java-unusable');
      expect(await codeOf(into({ bytes: 1024 ** 3, entries: 20 }))).to.equal('java-unusable');
      await into({ bytes: 1024 ** 3, entries: 1000 });
    });

    it('names half an archive, and a machine without tar', async () => {
      const { size } = await stat(archive.path);
      await run('truncate', ['-s', String(Math.floor(size / 2)), archive.path]);
      expect(await codeOf(into({ bytes: 1024 ** 3, entries: 1000 }))).to.equal('java-unusable');
      const signal = new AbortController().signal;
      expect(await codeOf(unpack(archive.path, staging, { path: '/nowhere', signal }))).to.equal(
        'agent-unsupported',
      );
    });
  });
});
