import { readFile, writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import { ArtifactKind, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import { hashOf, type InstallerHost, startInstallerHost } from '#test/harness/installerHost.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';

/** A program that plays SpigotMC's BuildTools, run by a real agent on a real Java. No hash of it is known, as of that. */
describe('agent installs a Spigot', function () {
  this.timeout(60_000);
  let host: InstallerHost;

  before(async function () {
    this.timeout(11 * 60_000);
    await buildMinecraftJar();
  });
  beforeEach(async () => {
    host = await startInstallerHost('BuildTools');
  });
  afterEach(() => host.stop());

  const spigot = (version?: string): WorkRequest =>
    host.provision({ kind: ArtifactKind.BUILD_TOOLS }, version);

  it('built once for all servers of a version', async () => {
    await host.succeed(spigot());
    await host.takeAnotherServer();
    await host.succeed(spigot());
    expect(await hashOf(host.folder('server.jar'), 'sha256')).to.equal(host.serverJar.sha256);
    expect(await host.installer.count('runs')).to.equal(1);
    expect((await host.driver.run(spigot('../x'))).errorCode).to.equal('invalid-request');
    await host.startsAs('-jar', 'server.jar', 'nogui');
  });

  it('although killed in the middle: goes on with what git has brought', async () => {
    await host.installer.ask('hold');
    const request = spigot();
    await host.driver.submit(request);
    await host.halfway();
    for await (const { progress } of host.driver.watch(request)) {
      expect(progress?.message, 'its last line').to.match(/^\[INFO\] Compiling class \d+/);
      break;
    }
    await host.agent.restart();
    await host.halfway(2);
    expect(await host.running()).to.equal(1);
    await host.installer.takeBack('hold');
    expect((await host.driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
    expect(await host.installer.count('clones')).to.equal(1);
    expect(host.upstream.bytesServed()).to.equal(host.installerSize);
  });

  it('anew when it fails on what a broken-off one has left', async () => {
    await host.installer.ask('fail');
    for (const clones of [1, 1, 2]) {
      const failed = await host.driver.run(spigot());
      expect(failed.errorCode).to.equal('install-failed');
      expect(failed.errorDetail).to.include('requires another Java');
      expect(await host.installer.count('clones')).to.equal(clones);
    }
    await host.installer.takeBack('fail');
    await host.succeed(spigot());
  });

  it('and a jar without a published hash: checked for being one, known again by what it was', async () => {
    const page = await host.driver.run(host.provision({ url: host.upstream.urlWith('html-page') }));
    expect(page.errorCode).to.equal('upstream-not-a-jar');
    await host.succeed(host.provision({}));
    await host.succeed(host.provision({}));
    await writeFile(host.folder('server.jar'), 'edited');
    await host.succeed(host.provision({}));
    expect(await readFile(host.folder('server.jar'))).to.have.lengthOf(host.installerSize);
    expect(host.upstream.requests.filter(({ fault }) => fault === undefined)).to.have.lengthOf(1);
  });
});
