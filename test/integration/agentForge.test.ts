import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { ArtifactKind, ProcessState, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import { hashOf, type InstallerHost, startInstallerHost } from '#test/harness/installerHost.js';
import { serveJar } from '#test/harness/jarServer.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { waitFor } from '#test/harness/waitFor.js';

const VERSION = '1.20.1-47.4.0';
const HOME = `libraries/net/minecraftforge/forge/${VERSION}`;
const ARGS_FILE = `${HOME}/unix_args.txt`;

/** An installer that plays Forge's, run by a real agent on a real Java; what it leaves is started. */
describe('agent installs a Forge', function () {
  this.timeout(60_000);
  let host: InstallerHost;
  let sha512: string;

  before(async function () {
    this.timeout(11 * 60_000);
    await buildMinecraftJar();
  });
  beforeEach(async () => {
    host = await startInstallerHost('ForgeInstaller');
    sha512 = await hashOf(host.installer.path, 'sha512');
  });
  afterEach(() => host.stop());

  const forge = (): WorkRequest => host.provision({ sha512, kind: ArtifactKind.FORGE_INSTALLER });

  it('of today by its file of arguments, and starts it', async () => {
    await mkdir(host.folder(), { recursive: true });
    await writeFile(host.folder('user_jvm_args.txt'), '-Dmine\n');
    await host.succeed(forge());
    expect(await readdir(host.folder())).to.have.members([
      'eula.txt',
      `forge-${VERSION}-shim.jar`,
      'libraries',
      'run.sh',
      'server.properties',
      'user_jvm_args.txt',
    ]);
    expect(await readFile(host.folder('user_jvm_args.txt'), 'utf8'), 'the operator’s').to.equal('-Dmine\n');
    expect((await host.driver.state())?.provisioned).to.equal(true);
    expect(await readdir(join(host.agent.workDir, '.aymc/installs'))).to.deep.equal([]);
    await host.succeed(forge());
    expect(await host.installer.count('runs'), 'once for the same artefact').to.equal(1);
    expect(host.upstream.bytesServed()).to.equal(host.installerSize);
    await host.startsAs(`@${ARGS_FILE}`, 'nogui');
    await host.agent.restart();
    expect(await host.driver.state()).to.include({ provisioned: true, state: ProcessState.RUNNING });
  });

  it('of the past by its jar, and forgets it for a plain jar', async () => {
    await host.installer.ask('legacy');
    await host.succeed(forge());
    const facts = join(host.agent.workDir, '.aymc/servers', host.driver.serverId, 'server.json');
    const launch = { jarFile: 'forge-1.12.2-14.23.5.2860.jar' };
    expect(JSON.parse(await readFile(facts, 'utf8'))).to.deep.include({ launch });
    const server = await serveJar(host.serverJar.path);
    try {
      await host.succeed(host.provision({ url: server.url, sha256: host.serverJar.sha256 }));
    } finally {
      await server.close();
    }
    expect(JSON.parse(await readFile(facts, 'utf8'))).to.not.have.property('launch');
    await host.startsAs('-jar', 'server.jar', 'nogui');
  });

  it('although killed while it downloads and while the installer runs, with nothing twice', async () => {
    host.upstream.misbehave('slow', 1);
    const request = forge();
    await host.driver.submit(request);
    await waitFor(() => host.upstream.bytesServed() > 0, { what: 'the first bytes' });
    await host.agent.restart();
    await host.installer.ask('hold');
    await host.installer.ask('child');
    await host.halfway();
    await host.agent.kill('SIGKILL');
    await host.installer.takeBack('child');
    await host.agent.restart();
    await host.halfway(2);
    expect(await host.running(), 'the new one only').to.equal(1);
    await host.installer.takeBack('hold');
    expect((await host.driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
    expect(await host.installer.count('runs')).to.equal(2);
    // What the first agent had been sent but had not written comes again.
    expect(host.upstream.bytesServed()).to.be.below(host.installerSize + 2_000);
    expect(await host.running()).to.equal(0);
    expect(await host.driver.state()).to.include({ provisioned: true });
  });

  it('from where an earlier agent left off moving its files, without running it again', async () => {
    // A folder of that name is in the way of the files after it.
    await mkdir(host.folder('run.sh'), { recursive: true });
    const failed = await host.driver.run(forge());
    expect(failed).to.include({ state: WorkState.FAILED, errorCode: 'invalid-path' });
    expect(failed.server?.provisioned).to.equal(false);
    await stat(host.folder(ARGS_FILE));
    expect(await readdir(host.folder())).to.not.include('user_jvm_args.txt');
    await host.agent.kill('SIGKILL');
    await rm(host.folder('run.sh'), { recursive: true });
    await host.agent.restart();
    await host.succeed(forge());
    expect(await readdir(host.folder())).to.include.members(['run.sh', 'user_jvm_args.txt']);
    expect(await host.installer.count('runs')).to.equal(1);
    expect(host.upstream.bytesServed()).to.equal(host.installerSize);
  });

  it('or leaves the old install as it was: cancelled, failed, or of a wrong content', async () => {
    await host.installer.ask('hold');
    await mkdir(host.folder('libraries'), { recursive: true });
    await writeFile(host.folder('server.jar'), 'the old one');
    const before = await readdir(host.folder(), { recursive: true });
    const request = forge();
    await host.driver.submit(request);
    await host.halfway();
    await host.driver.cancel(request);
    expect((await host.driver.outcome(request)).state).to.equal(WorkState.CANCELLED);
    expect(await host.running()).to.equal(0);
    await host.installer.takeBack('hold');
    await host.installer.ask('fail');
    const failed = await host.driver.run(forge());
    expect(failed).to.include({ state: WorkState.FAILED, errorCode: 'install-failed' });
    expect(failed.errorDetail).to.include('the network is away');
    for (const wrong of [{ md5: 'a'.repeat(32) }, { sha512: 'a'.repeat(128), md5: 'b'.repeat(32) }]) {
      const refused = await host.driver.run(host.provision({ ...wrong, kind: ArtifactKind.FORGE_INSTALLER }));
      expect(refused.errorCode).to.equal('checksum-mismatch');
    }
    expect(await readdir(host.folder(), { recursive: true })).to.deep.equal(before);
    expect(await readFile(host.folder('server.jar'), 'utf8')).to.equal('the old one');
    await host.installer.takeBack('fail');
    await host.succeed(forge());
  });
});

describe('agent installs a NeoForge', function () {
  this.timeout(60_000);

  it('by its own file of arguments', async () => {
    const home = 'libraries/net/neoforged/neoforge/21.4.111';
    const host = await startInstallerHost('ForgeInstaller', 'net/neoforged/neoforge/21.4.111');
    try {
      const sha256 = await hashOf(host.installer.path, 'sha256');
      await host.succeed(host.provision({ sha256, kind: ArtifactKind.FORGE_INSTALLER }, '1.21.4'));
      expect(await readdir(host.folder())).to.include.members(['libraries', 'run.sh', 'user_jvm_args.txt']);
      expect(await hashOf(host.folder(home, 'neoforge-21.4.111-server.jar'), 'sha256')).to.equal(
        host.serverJar.sha256,
      );
      await host.startsAs(`@${home}/unix_args.txt`, 'nogui');
    } finally {
      await host.stop();
    }
  });
});
