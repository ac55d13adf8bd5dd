import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { freePort } from '#processes/dev/ports.js';
import { type Artifact, ArtifactKind, ProcessState, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver } from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from '#test/harness/agentProcess.js';
import { buildInstallerJar, type InstallerJar } from '#test/harness/installerJars.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';
import { buildMinecraftJar, minecraftJavaMajor } from '#test/harness/minecraftJar.js';
import { cheapJvmFlags } from '#test/harness/minecraftServer.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { addressOf } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const VERSION = '1.20.1-47.4.0';
const ARGS_FILE = `libraries/net/minecraftforge/forge/${VERSION}/unix_args.txt`;

/** Installers that play Forge's and SpigotMC's BuildTools, run by a real agent on a real Java. */
describe('agent installs', function () {
  this.timeout(60_000);

  let agent: AgentProcess;
  let gateway: AgentGateway;
  let driver: AgentDriver;
  let port: number;
  let serverSha256: string;
  let jar: InstallerJar;
  let upstream: JarServer;
  let sha512: string;

  before(async function () {
    this.timeout(11 * 60_000);
    serverSha256 = (await buildMinecraftJar()).sha256;
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  });
  after(() => gateway.close());

  afterEach(async () => {
    await driver.cleanUp();
    await agent.stop();
    await upstream.close();
    await jar.remove();
  });

  /** A fresh agent, so that nothing is cached, and an installer. */
  async function begin(mainClass: 'ForgeInstaller' | 'BuildTools'): Promise<void> {
    jar = await buildInstallerJar(mainClass);
    await copyFile((await buildMinecraftJar()).path, join(jar.folder, 'server.jar'));
    sha512 = createHash('sha512')
      .update(await readFile(jar.path))
      .digest('hex');
    upstream = await serveJar(jar.path, { slowBytesPerSecond: 2_000 });
    agent = await startAgentProcess();
    port = await freePort();
    driver = newDriver();
  }

  const settings = () => ({ port, maxPlayers: 7, eulaAccepted: true });

  function newDriver(): AgentDriver {
    const never = (): never => {
      throw new Error('not used here');
    };
    return new AgentDriver(
      {
        address: addressOf(agent),
        provision: never,
        start: never,
        crash: never,
        freeze: never,
        thaw: () => undefined,
        restart: never,
        stop: never,
      },
      gateway,
    );
  }

  const provision = (artifact: Partial<Artifact>, minecraftVersion = '1.20.1'): WorkRequest =>
    driver.request({
      $case: 'provision',
      provision: {
        ...provisionWork(jarArtifact({ url: upstream.url, ...artifact }), settings()),
        minecraftVersion,
      },
    });
  const forge = (): WorkRequest => provision({ sha512, kind: ArtifactKind.FORGE_INSTALLER });
  const spigot = (): WorkRequest => provision({ kind: ArtifactKind.BUILD_TOOLS });

  const folder = (...names: string[]): string => join(agent.workDir, driver.serverId, ...names);
  const hidden = (...names: string[]): string => join(agent.workDir, '.aymc', ...names);
  const sizeOfJar = async (): Promise<number> => (await stat(jar.path)).size;
  const halfway = (times = 1) =>
    waitFor(async () => (await jar.count('halfway')) === times, {
      timeoutMs: 20_000,
      what: 'the installer to be halfway',
    });

  async function succeed(request: WorkRequest): Promise<void> {
    const { state, errorCode, errorDetail } = await driver.run(request);
    expect(state, `${errorCode} ${errorDetail}`).to.equal(WorkState.SUCCEEDED);
  }

  async function startsAs(...expected: string[]): Promise<void> {
    const start = driver.request({
      $case: 'start',
      start: {
        settings: settings(),
        memoryMinMb: 64,
        memoryMaxMb: 256,
        javaArgs: [...cheapJvmFlags],
        // What the control plane says of every type.
        jarFile: 'server.jar',
        javaMajor: minecraftJavaMajor,
        javaPinned: false,
        readyTimeoutSeconds: 60,
        serverType: 'forge',
        leased: false,
      },
    });
    const { server, errorCode, errorDetail } = await driver.run(start);
    expect(server?.state, `${errorCode} ${errorDetail}`).to.equal(ProcessState.RUNNING);
    const command = (await readFile(`/proc/${server?.pid}/cmdline`, 'utf8')).split('\0').filter(Boolean);
    expect(command.slice(-expected.length)).to.deep.equal(expected);
  }

  async function installersRunning(): Promise<string[]> {
    const commands = await Promise.all(
      (await readdir('/proc')).map(pid => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')),
    );
    return commands.filter(environment => environment.includes(`AYMC_INSTALLER=${agent.workDir}`));
  }

  describe('a Forge', () => {
    beforeEach(() => begin('ForgeInstaller'));

    it('of today by its file of arguments, and starts it', async () => {
      await mkdir(folder(), { recursive: true });
      await writeFile(folder('user_jvm_args.txt'), '-Dmine\n');
      await succeed(forge());
      expect((await readdir(folder())).sort()).to.deep.equal(
        ['eula.txt', `forge-${VERSION}-shim.jar`, 'libraries', 'run.sh', 'server.properties'].concat(
          'user_jvm_args.txt',
        ),
      );
      expect(await readFile(folder('user_jvm_args.txt'), 'utf8'), 'the operator’s').to.equal('-Dmine\n');
      expect((await driver.state())?.provisioned).to.equal(true);
      expect(await readdir(hidden('installs'))).to.deep.equal([]);
      await startsAs(`@${ARGS_FILE}`, 'nogui');
      await agent.restart();
      expect(await driver.state()).to.include({ provisioned: true, state: ProcessState.RUNNING });
    });

    it('of the past by its jar, and forgets it for a plain jar', async () => {
      await jar.ask('legacy');
      await succeed(forge());
      await startsAs('-jar', 'forge-1.12.2-14.23.5.2860.jar', 'nogui');
      await driver.run(
        driver.request({ $case: 'stop', stop: { consoleSeconds: 5, termSeconds: 5, runId: '' } }),
      );
      const server = await serveJar(join(jar.folder, 'server.jar'));
      try {
        await succeed(provision({ url: server.url, sha256: serverSha256 }));
      } finally {
        await server.close();
      }
      await startsAs('-jar', 'server.jar', 'nogui');
    });

    it('once: a second provision of the same one runs and downloads nothing', async () => {
      await succeed(forge());
      await succeed(forge());
      expect(await jar.count('runs')).to.equal(1);
      expect(upstream.bytesServed()).to.equal(await sizeOfJar());
    });

    it('although killed while it downloads and while the installer runs, with nothing twice', async () => {
      upstream.misbehave('slow', 1);
      const request = forge();
      await driver.submit(request);
      await waitFor(() => upstream.bytesServed() > 0, { what: 'the first bytes' });
      await agent.restart();
      await jar.ask('hold');
      await jar.ask('child');
      await halfway();
      await agent.kill('SIGKILL');
      await jar.takeBack('child');
      await agent.restart();
      await halfway(2);
      expect(await installersRunning(), 'the new one only').to.have.lengthOf(1);
      await jar.takeBack('hold');
      expect((await driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
      expect(await jar.count('runs')).to.equal(2);
      // What the first agent had been sent but had not written comes again.
      expect(upstream.bytesServed()).to.be.below((await sizeOfJar()) + 2_000);
      expect(await installersRunning()).to.deep.equal([]);
      await startsAs(`@${ARGS_FILE}`, 'nogui');
    });

    it('from where an earlier agent left off moving its files, without running it again', async () => {
      // A folder of that name holds the move up, after some files and before others.
      await mkdir(folder('run.sh'), { recursive: true });
      const failed = await driver.run(forge());
      expect(failed).to.include({ state: WorkState.FAILED, errorCode: 'invalid-path' });
      expect(failed.server?.provisioned).to.equal(false);
      await agent.kill('SIGKILL');
      await rm(folder('run.sh'), { recursive: true });
      await agent.restart();
      await succeed(forge());
      expect(await jar.count('runs')).to.equal(1);
      expect(upstream.bytesServed()).to.equal(await sizeOfJar());
      await startsAs(`@${ARGS_FILE}`, 'nogui');
    });

    it('or leaves the old install as it was: cancelled, failed, or of a wrong content', async () => {
      await jar.ask('hold');
      await mkdir(folder('libraries'), { recursive: true });
      await writeFile(folder('server.jar'), 'the old one');
      const before = await readdir(folder(), { recursive: true });
      const request = forge();
      await driver.submit(request);
      await halfway();
      await driver.cancel(request);
      expect((await driver.outcome(request)).state).to.equal(WorkState.CANCELLED);
      expect(await installersRunning()).to.deep.equal([]);
      await jar.takeBack('hold');
      await jar.ask('fail');
      const failed = await driver.run(forge());
      expect(failed).to.include({ state: WorkState.FAILED, errorCode: 'install-failed' });
      expect(failed.errorDetail).to.include('the network is away');
      for (const wrong of [{ md5: 'a'.repeat(32) }, { sha512: 'a'.repeat(128), md5: 'b'.repeat(32) }]) {
        const refused = await driver.run(provision({ ...wrong, kind: ArtifactKind.FORGE_INSTALLER }));
        expect(refused.errorCode).to.equal('checksum-mismatch');
      }
      expect(await readdir(folder(), { recursive: true })).to.deep.equal(before);
      await jar.takeBack('fail');
      await succeed(forge());
    });
  });

  describe('a Spigot', () => {
    beforeEach(() => begin('BuildTools'));

    it('built once for all servers of a version', async () => {
      await succeed(spigot());
      expect(
        createHash('sha256')
          .update(await readFile(folder('server.jar')))
          .digest('hex'),
      ).to.equal(serverSha256);
      await startsAs('-jar', 'server.jar', 'nogui');
      const first = driver;
      driver = newDriver();
      try {
        await succeed(spigot());
      } finally {
        await first.cleanUp();
      }
      expect(await readFile(folder('server.jar'))).to.have.lengthOf(
        (await stat(join(jar.folder, 'server.jar'))).size,
      );
      expect(await jar.count('runs')).to.equal(1);
      expect((await driver.run(provision({ kind: ArtifactKind.BUILD_TOOLS }, '../x'))).errorCode).to.equal(
        'invalid-request',
      );
    });

    it('although killed in the middle: goes on with what git has brought', async () => {
      await jar.ask('hold');
      const request = spigot();
      await driver.submit(request);
      await halfway();
      const statuses = driver.watch(request)[Symbol.asyncIterator]();
      const seen = await statuses.next();
      expect(seen.value.progress?.message, 'its last line').to.match(/^\[INFO\] Compiling class \d+/);
      await agent.restart();
      await halfway(2);
      expect(await installersRunning()).to.have.lengthOf(1);
      await jar.takeBack('hold');
      expect((await driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
      expect(await jar.count('clones')).to.equal(1);
      expect(upstream.bytesServed()).to.equal(await sizeOfJar());
    });

    it('anew when it fails on what a broken-off one has left', async () => {
      await jar.ask('fail');
      for (const clones of [1, 1, 2]) {
        const failed = await driver.run(spigot());
        expect(failed.errorCode).to.equal('install-failed');
        expect(failed.errorDetail).to.include('requires another Java');
        expect(await jar.count('clones')).to.equal(clones);
      }
      await jar.takeBack('fail');
      await succeed(spigot());
    });
  });

  describe('a jar without a published hash', () => {
    beforeEach(() => begin('ForgeInstaller'));

    it('by its URL: checked for being a jar, known again by what it was', async () => {
      const page = await driver.run(provision({ url: upstream.urlWith('html-page') }));
      expect(page.errorCode).to.equal('upstream-not-a-jar');
      await succeed(provision({}));
      await succeed(provision({}));
      await writeFile(folder('server.jar'), 'edited');
      await succeed(provision({}));
      expect(await readFile(folder('server.jar'))).to.have.lengthOf(await sizeOfJar());
      const bytes = upstream.requests.filter(({ fault }) => fault === undefined);
      expect(bytes).to.have.lengthOf(1);
    });
  });
});
