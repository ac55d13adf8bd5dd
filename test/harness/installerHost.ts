import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { freePort } from '#processes/dev/ports.js';
import { type Artifact, ProcessState, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, type ContractAgent } from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from './agentProcess.js';
import { buildInstallerJar, type InstallerJar, type InstallerName } from './installerJars.js';
import { countInstallers } from './installerWatch.js';
import { type JarServer, serveJar } from './jarServer.js';
import { minecraftJavaMajor, type MinecraftJar } from './minecraftJar.js';
import { cheapJvmFlags } from './minecraftServer.js';
import { jarArtifact, provisionWork } from './provisionWork.js';
import { addressOf } from './shellAgent.js';
import { waitFor } from './waitFor.js';

/** A real agent that has nothing cached, with an upstream that serves one installer. */
export interface InstallerHost {
  readonly agent: AgentProcess;
  readonly driver: AgentDriver;
  readonly installer: InstallerJar;
  readonly upstream: JarServer;
  /** Bytes. */
  readonly installerSize: number;
  readonly serverJar: MinecraftJar;
  /** From the upstream, with whatever hash is given. */
  provision(artifact: Partial<Artifact>, minecraftVersion?: string): WorkRequest;
  /** Below the server's folder. */
  folder(...names: string[]): string;
  /** Waits until the installer has been halfway so often. */
  halfway(times?: number): Promise<void>;
  succeed(request: WorkRequest): Promise<void>;
  /** Starts the server as the control plane does; its command ends with these. */
  startsAs(...expected: string[]): Promise<void>;
  /** How many processes of installers this agent has. */
  running(): Promise<number>;
  /** From now on it is about another server. */
  takeAnotherServer(): Promise<void>;
  stop(): Promise<void>;
}

/** `build` is what the installer installs, as a path in Maven's order. */
export async function startInstallerHost(mainClass: InstallerName, build?: string): Promise<InstallerHost> {
  const installer = await buildInstallerJar(mainClass, build);
  const upstream = await serveJar(installer.path, { slowBytesPerSecond: 2_000 });
  const agent = await startAgentProcess();
  const gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  const settings = { port: await freePort(), maxPlayers: 7, eulaAccepted: true };
  let driver = new AgentDriver(contractAgent(agent), gateway);

  const provision: InstallerHost['provision'] = (artifact, minecraftVersion = '1.20.1') => {
    const work = provisionWork(jarArtifact({ url: upstream.url, ...artifact }), settings);
    return driver.request({ $case: 'provision', provision: { ...work, minecraftVersion } });
  };

  return {
    agent,
    get driver() {
      return driver;
    },
    installer,
    upstream,
    installerSize: (await stat(installer.path)).size,
    serverJar: installer.serverJar,
    provision,
    folder: (...names) => join(agent.workDir, driver.serverId, ...names),
    async halfway(times = 1) {
      await waitFor(async () => (await installer.count('halfway')) === times, {
        timeoutMs: 20_000,
        what: 'the installer to be halfway',
      });
    },
    async succeed(request) {
      const { state, errorCode, errorDetail } = await driver.run(request);
      expect(state, `${errorCode} ${errorDetail}`).to.equal(WorkState.SUCCEEDED);
    },
    async startsAs(...expected) {
      const start = {
        settings,
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
      };
      const { server, errorCode, errorDetail } = await driver.run(driver.request({ $case: 'start', start }));
      expect(server?.state, `${errorCode} ${errorDetail}`).to.equal(ProcessState.RUNNING);
      const command = (await readFile(`/proc/${server?.pid}/cmdline`, 'utf8')).split('\0').filter(Boolean);
      expect(command.slice(-expected.length)).to.deep.equal(expected);
    },
    running: () => countInstallers(agent.workDir),
    async takeAnotherServer() {
      await driver.cleanUp();
      driver = new AgentDriver(contractAgent(agent), gateway);
    },
    async stop() {
      await driver.cleanUp();
      await gateway.close();
      await agent.stop();
      await upstream.close();
      await installer.remove();
    },
  };
}

/** Only its address is used: what work there is, is said here. */
function contractAgent(agent: AgentProcess): ContractAgent {
  const never = (): never => {
    throw new Error('not used here');
  };
  return {
    address: addressOf(agent),
    provision: never,
    start: never,
    crash: never,
    freeze: never,
    thaw: () => undefined,
    restart: never,
    stop: never,
  };
}

export async function hashOf(path: string, algorithm: 'sha256' | 'sha512'): Promise<string> {
  return createHash(algorithm)
    .update(await readFile(path))
    .digest('hex');
}
