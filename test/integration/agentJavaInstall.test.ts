import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import pino from 'pino';
import {
  type Artifact,
  type JavaPackage,
  ProcessState,
  type StartWork,
  type WorkRequest,
  WorkState,
} from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, type ContractAgent } from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from '#test/harness/agentProcess.js';
import { requireJdk } from '#test/harness/java.js';
import { ARCHIVED_MAJOR, fillWithJvm, type JavaArchive, packJava } from '#test/harness/javaArchive.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { addressOf } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const run = promisify(execFile);
const SETTINGS = { port: 25565, maxPlayers: 20, eulaAccepted: true };
const HOME = `temurin-${ARCHIVED_MAJOR}-${ARCHIVED_MAJOR}.0.8`;

/** All that the agent wants of a server, on a JVM that has nothing but java.base. */
const SERVER = `
import java.util.Scanner;
public class Main {
  public static void main(String[] args) {
    System.out.println("[00:00:00] [Server thread/INFO]: Done (0.1s)! For help, type \\"help\\"");
    Scanner lines = new Scanner(System.in);
    while (lines.hasNextLine()) if (lines.nextLine().equals("stop")) return;
  }
}`;

/** Stands before the real tar: while the file \`hang\` is there it unpacks a piece and waits until its agent is dead. */
const HANGING_TAR = `#!/bin/sh
here="\${0%/*}"
[ -e "$here/hang" ] || exec REAL "$@"
head -c 3000000 | REAL "$@" >/dev/null 2>&1
touch "$here/hangs"
while kill -0 "$PPID" 2>/dev/null; do sleep 0.05; done
`;

describe('agent without the Java that a server needs', function () {
  this.timeout(60_000);
  let folder: string;
  let archive: JavaArchive;
  let javaUpstream: JarServer;
  let jarUpstream: JarServer;
  let artifact: Artifact;
  let host: AgentProcess;
  let gateway: AgentGateway;
  let driver: AgentDriver;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-without-java-'));
    archive = await packJava(fillWithJvm);
    const jar = await compileServer();
    jarUpstream = await serveJar(jar);
    const bytes = await readFile(jar);
    artifact = jarArtifact({
      url: jarUpstream.url,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      sizeBytes: bytes.length,
    });
    await mkdir(join(folder, 'bin'));
    const { stdout } = await run('which', ['tar']);
    await writeFile(join(folder, 'bin/tar'), HANGING_TAR.replaceAll('REAL', stdout.trim()));
    await chmod(join(folder, 'bin/tar'), 0o755);
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  });

  after(async () => {
    await gateway.close();
    await jarUpstream.close();
    await archive.remove();
    await rm(folder, { recursive: true, force: true });
  });

  beforeEach(async () => {
    javaUpstream = await serveJar(archive.path, { slowBytesPerSecond: 3_000_000 });
    const path = `${join(folder, 'bin')}:${process.env['PATH']}`;
    host = await startAgentProcess({ env: { PATH: path } });
    driver = new AgentDriver(contractAgent(), gateway);
  });

  afterEach(async () => {
    await rm(join(folder, 'bin/hang'), { force: true });
    await rm(join(folder, 'bin/hangs'), { force: true });
    await host.stop();
    await javaUpstream.close();
  });

  async function compileServer(): Promise<string> {
    const jdk = await requireJdk(17);
    await writeFile(join(folder, 'Main.java'), SERVER);
    await run(jdk.javacBin, ['-d', folder, join(folder, 'Main.java')]);
    const jar = join(folder, 'server.jar');
    const packed = ['--create', '--file', jar, '--main-class', 'Main', '-C', folder, 'Main.class'];
    await run(join(jdk.home, 'bin/jar'), packed);
    return jar;
  }

  function contractAgent(): ContractAgent {
    return {
      address: addressOf(host),
      provision: () => ({ ...provisionWork(artifact, SETTINGS), java: javaPackage() }),
      start: () => start(),
      crash: ({ pid }) => void process.kill(pid, 'SIGKILL'),
      freeze: () => undefined,
      thaw: () => undefined,
      restart: () => host.restart(),
      stop: () => host.stop(),
    };
  }

  function javaPackage(): JavaPackage {
    return {
      major: ARCHIVED_MAJOR,
      pinned: true,
      url: javaUpstream.url,
      sha256: archive.sha256,
      sizeBytes: archive.size,
      contact: 'ops@example.test',
    };
  }

  function start(): StartWork {
    return {
      settings: SETTINGS,
      memoryMinMb: 16,
      memoryMaxMb: 64,
      javaArgs: ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
      jarFile: 'server.jar',
      javaMajor: ARCHIVED_MAJOR,
      javaPinned: true,
      readyTimeoutSeconds: 30,
      serverType: 'vanilla',
      leased: false,
    };
  }

  async function provisionRequest() {
    const provision = await driver.agent.provision(driver.serverId);
    return driver.request({ $case: 'provision', provision });
  }

  const runtimes = async (): Promise<number[]> =>
    (await gateway.hello(driver.address)).javaRuntimes.map(({ major }) => major);
  const staged = (): Promise<string[]> => readdir(join(host.workDir, '.aymc/java-staging'));
  const installed = (): Promise<string[]> => readdir(join(host.workDir, '.aymc/java')).catch(() => []);

  it('is given it with the provision, says so at once, and runs the server on it', async () => {
    expect(await runtimes()).to.not.include(ARCHIVED_MAJOR);
    const request = await provisionRequest();
    await driver.submit(request);
    const phases = (await driver.follow(request)).map(({ progress }) => progress?.phase);
    expect(phases.indexOf('java')).to.be.within(0, phases.indexOf('installing'));
    expect(await runtimes()).to.include(ARCHIVED_MAJOR);
    expect((await driver.provision()).state).to.equal(WorkState.SUCCEEDED);
    expect(javaUpstream.requests, 'nothing is fetched that is there').to.have.lengthOf(1);
    expect(javaUpstream.requests[0]?.userAgent).to.match(/^aymc-agent\/\S+ \(ops@example\.test\)$/);

    const { server, errorDetail } = await driver.run(driver.startRequest());
    expect(server?.state, errorDetail).to.equal(ProcessState.RUNNING);
    const command = await readFile(`/proc/${server?.pid}/cmdline`, 'utf8');
    expect(command).to.include(`/.aymc/java/${HOME}/bin/`);
  });

  it('runs a server on what its upstream says that it needs, whatever its Minecraft version does', async () => {
    const needs = { ...artifact, javaMajor: ARCHIVED_MAJOR };
    const provision = { ...provisionWork(needs, SETTINGS), java: javaPackage() };
    await driver.run(driver.request({ $case: 'provision', provision }));
    await host.restart();
    const asked = { ...start(), javaMajor: 17, javaPinned: false };
    const { server, errorDetail } = await driver.run(driver.request({ $case: 'start', start: asked }));
    expect(server?.state, errorDetail).to.equal(ProcessState.RUNNING);
    const command = await readFile(`/proc/${server?.pid}/cmdline`, 'utf8');
    expect(command).to.include(`/.aymc/java/${HOME}/bin/`);
  });

  it('goes on with the download after kill −9, sending nothing twice', async () => {
    javaUpstream.misbehave('slow', 1);
    const request = await provisionRequest();
    await driver.submit(request);
    await waitFor(() => javaUpstream.bytesServed() > 2_000_000, { what: 'a part of the download' });
    await host.restart();
    expect((await driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
    expect(javaUpstream.requests.map(({ range }) => range !== undefined)).to.deep.equal([false, true]);
    expect(javaUpstream.bytesServed()).to.be.lessThan(archive.size + 1024 * 1024);
    expect(await installed()).to.deep.equal([HOME]);
  });

  it('unpacks anew after kill −9 in the middle, without another download, and sweeps the half', async () => {
    await writeFile(join(folder, 'bin/hang'), '');
    const request = await provisionRequest();
    await driver.submit(request);
    await waitFor(() => exists(join(folder, 'bin/hangs')), { what: 'half an unpacked Java' });
    expect(await staged()).to.have.lengthOf(1);
    expect(await installed()).to.deep.equal([]);
    expect(await runtimes(), 'half a Java is none').to.not.include(ARCHIVED_MAJOR);
    await rm(join(folder, 'bin/hang'));
    await host.restart();
    expect((await driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
    expect(await installed()).to.deep.equal([HOME]);
    expect(await staged()).to.deep.equal([]);
    expect(javaUpstream.requests).to.have.lengthOf(1);
  });

  it('installs it on its own account, once for its pair, through kill −9, and can be called off', async () => {
    const install = (): WorkRequest =>
      driver.request(
        { $case: 'installJava', installJava: { java: javaPackage() } },
        { serverId: '', epoch: 0, opSeq: 0 },
      );
    const cancelled = install();
    javaUpstream.misbehave('slow', 1);
    await driver.submit(cancelled);
    await waitFor(() => javaUpstream.bytesServed() > 0, { what: 'the download' });
    await driver.cancel(cancelled);
    expect(await driver.outcome(cancelled)).to.have.property('state', WorkState.CANCELLED);

    await writeFile(join(folder, 'bin/hang'), '');
    const request = install();
    await driver.submit(request);
    await waitFor(() => exists(join(folder, 'bin/hangs')), { what: 'half an unpacked Java' });
    await rm(join(folder, 'bin/hang'));
    await host.restart();
    const outcome = await driver.outcome(request);
    expect(outcome).to.deep.include({ state: WorkState.SUCCEEDED, server: undefined });
    const asked = javaUpstream.requests.length;
    await rm(join(host.workDir, '.aymc/java'), { recursive: true });
    expect((await driver.submit(request)).state, 'the same pair again').to.equal(WorkState.SUCCEEDED);
    expect(await installed(), 'is answered, not done').to.deep.equal([]);
    expect((await driver.run(install())).state).to.equal(WorkState.SUCCEEDED);
    expect(await installed()).to.deep.equal([HOME]);
    expect(javaUpstream.requests, 'from the cache').to.have.lengthOf(asked);
    expect(await driver.state(), 'no server came of it').to.equal(undefined);
  });

  it('fails the provision with the reason when the archive is not what was promised, and can be tried again', async () => {
    javaUpstream.misbehave('flipped-byte', 2);
    const failed = await driver.run(await provisionRequest());
    expect(failed).to.include({ state: WorkState.FAILED, errorCode: 'checksum-mismatch' });
    expect(await installed()).to.deep.equal([]);
    javaUpstream.misbehave(undefined);
    expect((await driver.run(await provisionRequest())).state).to.equal(WorkState.SUCCEEDED);
  });
});

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
