import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ArtifactKind } from '#proto/gen/agent.js';
import { AgentError } from '../../agent/errors.js';
import { identify, isAlive } from '../../agent/server/process.js';
import { endInstallers, type InstallerSpec, runInstaller } from '../../agent/work/installerProcess.js';
import { moveTree } from '../../agent/work/moveTree.js';
import { parseOrder } from '../../agent/work/order.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('agent installers', function () {
  this.timeout(20_000);
  let folder: string;
  let abort: AbortController;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-install-'));
    abort = new AbortController();
  });
  afterEach(async () => {
    await endInstallers(folder);
    await rm(folder, { recursive: true, force: true });
  });

  describe('process', () => {
    function install(script: string, overrides: Partial<InstallerSpec> = {}): Promise<void> {
      return runInstaller({
        command: ['/bin/sh', '-c', script],
        folder,
        env: { PATH: process.env['PATH'] ?? '' },
        limitMs: 15_000,
        signal: abort.signal,
        onLine: () => undefined,
        ...overrides,
      });
    }

    async function failureOf(promise: Promise<void>): Promise<AgentError> {
      const error: unknown = await promise.catch((reason: unknown) => reason);
      if (error instanceof AgentError) return error;
      throw new Error('expected an AgentError', { cause: error });
    }

    const pidIn = (name: string): Promise<number> =>
      waitFor(async () => Number(await readFile(join(folder, name), 'utf8').catch(() => '')), {
        what: `the process of ${name}`,
      });

    /** Where nobody reaps, what has ended stays as a zombie. */
    const isGone = (pid: number): boolean => {
      const found = identify(pid);
      return found === undefined || !isAlive(found);
    };

    it('tells what it says, and its last words when it fails', async () => {
      const seen: string[] = [];
      await install('echo "first"', { onLine: line => seen.push(line) });
      expect(seen).to.deep.equal(['first']);
      const failure = await failureOf(install('echo one; echo "no network" >&2; exit 3'));
      expect(failure).to.include({ code: 'install-failed' });
      expect(failure.detail)
        .to.match(/^the installer ended with 3; it said: /)
        .and.include('no network');
    });

    it('holds little of what it says, lines without an end included', async () => {
      const failure = await failureOf(install('head -c 20000000 /dev/zero | tr "\\0" x; echo; exit 1'));
      expect(failure.detail.length).to.be.below(500);
    });

    it('gets a clean environment and its own process group', async () => {
      await install('env | sort > env.txt; ps -o pgid= -p $$ > group; echo $$ > pid');
      const names = (await readFile(join(folder, 'env.txt'), 'utf8')).match(/^\w+(?==)/gm);
      expect(names).to.include('PATH').and.not.include('HOME');
      expect((await readFile(join(folder, 'group'), 'utf8')).trim()).to.equal(
        (await readFile(join(folder, 'pid'), 'utf8')).trim(),
      );
    });

    it('ends with the step and all that it has started, in other sessions too', async () => {
      const cancelled = install('setsid sh -c "echo \\$\\$ > child; exec sleep 600" & sleep 600').catch(
        (error: unknown) => error,
      );
      const child = await pidIn('child');
      abort.abort(new Error('cancelled'));
      expect(await cancelled).to.have.property('message', 'cancelled');
      expect(isGone(child)).to.equal(true);
    });

    it('ends when its time is over', async () => {
      const failure = await failureOf(install('sleep 600', { limitMs: 300 }));
      expect(failure).to.include({ code: 'install-failed' });
      expect(failure.detail).to.include('took longer');
    });

    it('never runs beside what an earlier one has left behind, and touches nobody else', async () => {
      const stranger = spawn('sleep', ['600'], { cwd: folder, stdio: 'ignore' });
      const strangersPid = stranger.pid ?? 0;
      try {
        const left = spawn('/bin/sh', ['-c', 'echo $$ > left; exec sleep 600'], {
          cwd: folder,
          env: { PATH: process.env['PATH'], AYMC_INSTALLER: folder },
          stdio: 'ignore',
        });
        const ended = new Promise(resolve => left.once('exit', (_code, signal) => resolve(signal)));
        await pidIn('left');
        await install('true');
        expect(await ended).to.equal('SIGKILL');
        expect(isGone(strangersPid)).to.equal(false);
      } finally {
        stranger.kill('SIGKILL');
      }
    });
  });

  describe('files', () => {
    const path = (...names: string[]): string => join(folder, ...names);

    async function tree(name: string, files: Record<string, string>): Promise<void> {
      for (const [file, content] of Object.entries(files)) {
        await mkdir(path(name, file, '..'), { recursive: true });
        await writeFile(path(name, file), content);
      }
    }

    it('move into folders that are there, over files that are there, and leave the rest', async () => {
      await tree('from', { 'run.sh': 'new', 'lib/a/1.jar': 'new', 'lib/b/2.jar': 'new' });
      await tree('to', { 'run.sh': 'old', 'lib/a/0.jar': 'old', 'world/level.dat': 'kept' });
      await moveTree(path('from'), path('to'));
      expect((await readdir(path('to'), { recursive: true })).sort()).to.deep.equal(
        ['lib', 'lib/a', 'lib/a/0.jar', 'lib/a/1.jar', 'lib/b', 'lib/b/2.jar', 'run.sh', 'world'].concat(
          'world/level.dat',
        ),
      );
      expect(await readFile(path('to/run.sh'), 'utf8')).to.equal('new');
      expect(await readdir(path('from'))).to.deep.equal([]);
      await moveTree(path('from'), path('to'));
    });

    it('are not led out of the folder by a link', async () => {
      await tree('from', { 'lib/a.jar': 'new', 'run.sh': 'new' });
      await tree('outside', { 'a.jar': 'old', 'run.sh': 'old' });
      await mkdir(path('to'));
      await symlink(path('outside/run.sh'), path('to/run.sh'));
      await symlink(path('outside'), path('to/lib'));
      const error: unknown = await moveTree(path('from'), path('to')).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(AgentError).with.property('code', 'invalid-path');
      await rm(path('to/lib'));
      await moveTree(path('from'), path('to'));
      expect(await readFile(path('outside/a.jar'), 'utf8')).to.equal('old');
      expect(await readFile(path('outside/run.sh'), 'utf8')).to.equal('old');
      expect(await readFile(path('to/run.sh'), 'utf8')).to.equal('new');
    });
  });

  describe('order', () => {
    const settings = { port: 25565, maxPlayers: 20, eulaAccepted: true };
    const hashes = {
      md5: 'd'.repeat(32),
      sha1: 'c'.repeat(40),
      sha256: 'b'.repeat(64),
      sha512: 'a'.repeat(128),
    };
    const orderOf = (known: Parameters<typeof jarArtifact>[0]) =>
      parseOrder(provisionWork(jarArtifact({ url: 'http://x/y.jar', ...known }), settings));

    it('is checked by the strongest hash that is given', () => {
      const given = { ...hashes };
      for (const algorithm of ['sha512', 'sha256', 'sha1', 'md5'] as const) {
        const order = orderOf(given);
        expect(order.source.checksum).to.deep.equal({ algorithm, hex: hashes[algorithm] });
        expect(order.key).to.equal(`${algorithm}-${hashes[algorithm]}`);
        given[algorithm] = '';
      }
      expect(orderOf(given)).to.deep.include({
        source: { url: 'http://x/y.jar', sizeBytes: 0, contact: '', checksum: undefined },
      });
      expect(orderOf(given).key).to.match(/^url-[0-9a-f]{64}$/);
    });

    it('with a hash that is none is refused, however strong its others are', () => {
      for (const wrong of [
        { sha512: 'abc' },
        { md5: 'D'.repeat(32) },
        { ...hashes, sha512: 'x'.repeat(128) },
      ])
        expect(() => orderOf(wrong))
          .to.throw(AgentError)
          .with.property('code', 'invalid-request');
      expect(orderOf({ kind: ArtifactKind.BUILD_TOOLS }).kind).to.equal(ArtifactKind.BUILD_TOOLS);
    });
  });
});
