import { connect, createServer } from 'node:net';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { freePort } from '#processes/dev/ports.js';
import { ProcessState, type ServerState, type StartWork, WorkState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import {
  AgentDriver,
  type ContractAgent,
  hear,
  KILL,
  linesOf,
  stopWork,
} from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from '#test/harness/agentProcess.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';
import { findJdks } from '#test/harness/java.js';
import { buildMinecraftJar, type MinecraftJar, minecraftJavaMajor } from '#test/harness/minecraftJar.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { cheapJvmFlags } from '#test/harness/minecraftServer.js';
import { addressOf, copiesOf } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('agent with a real Minecraft server', function () {
  this.timeout(120_000);

  let jar: MinecraftJar;
  let upstream: JarServer;
  let host: AgentProcess;
  let gateway: AgentGateway;
  let driver: AgentDriver;
  let port: number;

  before(async function () {
    this.timeout(11 * 60_000);
    jar = await buildMinecraftJar();
    upstream = await serveJar(jar.path);
    host = await startAgentProcess();
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  });

  after(async () => {
    await gateway.close();
    await host.stop();
    await upstream.close();
  });

  beforeEach(async () => {
    port = await freePort();
    driver = new AgentDriver(contractAgent(), gateway);
    await mkdir(join(host.workDir, driver.serverId));
    await writeFile(propertiesPath(), '#kept\nserver-ip=127.0.0.1\nmotd=A test\n');
    await driver.provision();
  });

  afterEach(() => driver.cleanUp());

  const propertiesPath = (): string => join(host.workDir, driver.serverId, 'server.properties');
  const settings = () => ({ port, maxPlayers: 7, eulaAccepted: true });

  function contractAgent(): ContractAgent {
    return {
      address: addressOf(host),
      provision: () =>
        provisionWork(
          jarArtifact({ url: upstream.url, sha256: jar.sha256, sizeBytes: jar.size }),
          settings(),
        ),
      start: () => start(),
      crash: ({ pid }) => void process.kill(pid, 'SIGKILL'),
      freeze: () => undefined,
      thaw: () => undefined,
      restart: () => host.restart(),
      stop: () => host.stop(),
    };
  }

  function start(overrides: Partial<StartWork> = {}): StartWork {
    return {
      settings: settings(),
      memoryMinMb: 64,
      memoryMaxMb: 256,
      javaArgs: [...cheapJvmFlags],
      jarFile: 'server.jar',
      javaMajor: 0,
      javaPinned: false,
      readyTimeoutSeconds: 60,
      serverType: 'vanilla',
      leased: false,
      ...overrides,
    };
  }

  async function boot(): Promise<ServerState> {
    const end = await driver.run(driver.request({ $case: 'start', start: start() }));
    if (end.server?.state !== ProcessState.RUNNING) throw new Error(`${end.errorCode}: ${end.errorDetail}`);
    return end.server;
  }

  function crash(): Promise<ServerState> {
    return waitFor(
      async () => {
        const state = await driver.state();
        return state?.state === ProcessState.CRASHED ? state : undefined;
      },
      { what: 'the crash' },
    );
  }

  function said(server: ServerState, text: string): Promise<unknown> {
    const from = { runId: server.runId, offset: 0 };
    return hear(driver, { console: { [driver.serverId]: from } }, heard =>
      linesOf(heard).some(line => line.includes(text)),
    );
  }

  it('boots, takes commands, stops with its world saved, and boots again', async () => {
    const first = await boot();
    expect(first.readyAtMs - first.startedAtMs).to.be.greaterThan(500);
    expect(await answersStatusPing(port)).to.equal(true);
    await driver.send('say hello from the test');
    await said(first, '[Server] hello from the test');

    const stopped = await driver.run(driver.request(stopWork()));
    expect(stopped.server).to.include({ state: ProcessState.STOPPED, exitCode: 0 });
    await said(first, 'All chunks are saved');

    const second = await boot();
    expect(second.runId).to.not.equal(first.runId);
    const properties = await readFile(propertiesPath(), 'utf8');
    expect(properties)
      .to.include(`server-port=${port}`)
      .and.to.include('max-players=7')
      .and.to.include('motd=A test');
  });

  it('plays on through the agent’s death, during its boot and after', async () => {
    const request = driver.request({ $case: 'start', start: start() });
    await driver.submit(request);
    await waitFor(async () => (await driver.state())?.pid, { what: 'the JVM' });
    await host.restart();
    const end = await driver.outcome(request);
    expect(end.state).to.equal(WorkState.SUCCEEDED);
    await host.restart();
    expect((await driver.state())?.pid).to.equal(end.server?.pid);
    expect(await copiesOf(host, driver.serverId)).to.deep.equal([end.server?.pid]);
    expect(await answersStatusPing(port)).to.equal(true);
    expect((await driver.run(driver.request(stopWork()))).server?.exitCode).to.equal(0);
  });

  it('is stopped while it boots', async () => {
    const request = driver.request({ $case: 'start', start: start() });
    await driver.submit(request);
    await waitFor(async () => (await driver.state())?.pid, { what: 'the JVM' });
    const stop = driver.request({ $case: 'stop', stop: { consoleSeconds: 30, termSeconds: 15, runId: '' } });
    const end = await driver.run(stop);
    expect(end.server?.state).to.equal(ProcessState.STOPPED);
    expect((await driver.outcome(request)).errorCode).to.equal('superseded');
  });

  it('is stopped when it hangs, whatever it takes', async () => {
    const server = await boot();
    await driver.send('hang');
    await said(server, 'keep up');
    const stop = driver.request({ $case: 'stop', stop: { consoleSeconds: 1, termSeconds: 1, runId: '' } });
    const end = await driver.run(stop);
    expect(end.server).to.include({ state: ProcessState.STOPPED, exitCode: 137 });
  });

  it('is killed at once', async () => {
    await boot();
    const begin = performance.now();
    const end = await driver.run(driver.request(KILL));
    expect(end.server).to.include({ state: ProcessState.STOPPED, exitCode: 137 });
    expect(performance.now() - begin).to.be.lessThan(2_000);
  });

  it('is seen to crash', async () => {
    await boot();
    await driver.send('crash');
    const crashed = await crash();
    expect(crashed.exitCode).to.equal(1);
    expect(crashed.cause).to.include({
      code: 'crash-report',
      detail: 'It crashed: Exception in server tick loop',
    });
    expect(crashed.cause?.reportPath).to.match(/^crash-reports\/crash-\d+-server\.txt$/);
  });

  it('is seen to be ended by a crash of its JVM, which leaves a report, too', async () => {
    process.kill((await boot()).pid, 'SIGSEGV');
    const { cause, exitCode } = await crash();
    expect(exitCode).to.equal(134);
    expect(cause?.code).to.equal('jvm-crash');
    expect(cause?.detail).to.include('SIGSEGV');
    expect(cause?.reportPath).to.match(/^hs_err_pid\d+\.log$/);
  });

  it('is seen to have no memory for its heap', async () => {
    const tooBig = { memoryMinMb: 900_000_000, memoryMaxMb: 900_000_000, javaArgs: [] };
    const end = await driver.run(driver.request({ $case: 'start', start: start(tooBig) }));
    expect(end).to.include({ state: WorkState.FAILED, errorCode: 'start-failed' });
    expect(end.server?.cause?.code).to.equal('out-of-memory');
  });

  it('has stopped, not crashed, when the host tells it to end', async () => {
    process.kill((await boot()).pid, 'SIGTERM');
    const stopped = await waitFor(
      async () => {
        const state = await driver.state();
        return state?.state === ProcessState.STOPPED ? state : undefined;
      },
      { what: 'the end' },
    );
    expect(stopped).to.include({ exitCode: 143, cause: undefined });
  });

  it('says so when its port is taken', async () => {
    const other = createServer().listen(port, '127.0.0.1');
    try {
      const end = await driver.run(driver.request({ $case: 'start', start: start() }));
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'port-in-use' });
    } finally {
      other.close();
    }
  });

  it('is not started with a Java that its classes are too new for', async () => {
    // Where there is no older Java the pin alone refuses, in the same words.
    const old = (await findJdks()).find(({ major }) => major < minecraftJavaMajor);
    const wish = start({ javaMajor: old?.major ?? minecraftJavaMajor - 1, javaPinned: true });
    const end = await driver.run(driver.request({ $case: 'start', start: wish }));
    expect(end).to.include({ state: WorkState.FAILED, errorCode: 'java-missing' });
    expect(end.errorDetail).to.include(String(minecraftJavaMajor));
  });
});

/** https://minecraft.wiki/w/Java_Edition_protocol/Server_List_Ping: handshake for state 1, then a status request. */
function answersStatusPing(port: number): Promise<boolean> {
  const handshake = Buffer.from([0x00, 0x81, 0x06, 0x01, 0x78, port >> 8, port & 0xff, 0x01]);
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.on('data', chunk => {
      answer += chunk.toString('latin1');
      if (!answer.includes('"players"')) return;
      resolve(true);
      socket.destroy();
    });
    socket.write(Buffer.concat([Buffer.from([handshake.length]), handshake, Buffer.from([0x01, 0x00])]));
  });
}
