import { randomUUID } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { freePort } from '#processes/dev/ports.js';
import {
  ProcessState,
  type Sample,
  type SamplePosition,
  type ServerSample,
  type ServerState,
  type StartWork,
} from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, type ContractAgent, hear, linesOf } from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from '#test/harness/agentProcess.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';
import { buildMinecraftJar, type MinecraftJar } from '#test/harness/minecraftJar.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { joinServer } from '#test/harness/minecraftClient.js';
import { cheapJvmFlags } from '#test/harness/minecraftServer.js';
import { addressOf, makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const OFTEN = { AGENT_SAMPLE_INTERVAL: '200ms', AGENT_TPS_INTERVAL: '500ms' };
const PATIENCE_MS = 40_000;

interface Sampled {
  incarnation: string;
  samples: Sample[];
}

/** Takes samples after a position until `enough`, then hangs up. */
async function listen(
  { gateway, address }: AgentDriver,
  position: SamplePosition | undefined,
  enough: (sampled: Sampled) => boolean,
  signal?: AbortSignal,
): Promise<Sampled> {
  const sampled: Sampled = { incarnation: '', samples: [] };
  const request = { afterSeq: 0, journalId: '', console: {}, samples: position };
  const options = { deadlineMs: PATIENCE_MS, ...(signal && { signal }) };
  for await (const batch of gateway.streamEvents(address, request, options)) {
    sampled.incarnation = batch.incarnation;
    for (const { serverId, event } of batch.events) {
      if (event?.$case !== 'sample') continue;
      expect(serverId, 'a sample is of the whole agent').to.equal('');
      sampled.samples.push(event.sample);
    }
    if (enough(sampled)) break;
  }
  return sampled;
}

const ofServer = (sample: Sample | undefined, serverId: string): ServerSample | undefined =>
  sample?.servers.find(server => server.serverId === serverId);

/** The first sample, from now on, whose part about the driver's server is like this. */
async function seen(driver: AgentDriver, isIt: (server: ServerSample) => boolean): Promise<ServerSample> {
  const { incarnation, samples } = await listen(driver, undefined, ({ samples: any }) => any.length > 0);
  const position = { incarnation, seq: samples.at(-1)?.seq ?? 0 };
  let found: ServerSample | undefined;
  await listen(driver, position, sampled => {
    found = sampled.samples
      .map(sample => ofServer(sample, driver.serverId))
      .find(server => server !== undefined && isIt(server));
    return found !== undefined;
  });
  if (found === undefined) throw new Error('the stream ended without such a sample');
  return found;
}

const seqsOf = ({ samples }: Sampled): number[] => samples.map(({ seq }) => seq);

function expectNoHoles(seqs: readonly number[], first: number): void {
  expect(seqs).to.deep.equal(seqs.map((_, index) => first + index));
}

describe('agent samples', function () {
  this.timeout(60_000);

  describe('of shell scripts', () => {
    const READY = `say 'Done (0.1s)! For help, type "help"'`;
    const IDLE = `${READY}; while read -r line; do [ "$line" = stop ] && exit 0; done`;
    /** Answers as Paper does, and notes that it was asked. */
    const PAPER = `${READY}; while read -r line; do case $line in
      stop) exit 0 ;;
      tps) echo asked >>asked; say 'TPS from last 1m, 5m, 15m: 19.5, 20.0, 20.0' ;;
      *) say "heard $line" ;;
      esac; done`;
    /** Its child works, not it itself. */
    const BUSY = `${READY}; (while :; do :; done) & ${IDLE}`;

    let agent: ShellAgent;
    let gateway: AgentGateway;
    let driver: AgentDriver;

    before(async () => {
      agent = await makeShellAgent(undefined, OFTEN);
      gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
    });

    after(async () => {
      await gateway.close();
      await agent.stop();
    });

    beforeEach(() => {
      driver = new AgentDriver(agent, gateway);
    });

    afterEach(() => driver.cleanUp());

    async function boot(script: string, serverType = 'vanilla'): Promise<ServerState> {
      await driver.provision();
      const settings = { port: await freePort(), maxPlayers: 20, eulaAccepted: true };
      const start = await agent.startScript(script, { serverType, settings });
      const { server, errorDetail } = await driver.run(driver.request({ $case: 'start', start }));
      if (server?.state !== ProcessState.RUNNING) throw new Error(`did not boot: ${errorDetail}`);
      return server;
    }

    it('tell of the host, and of every server that is alive', async () => {
      const { runId } = await boot(IDLE);
      const { samples } = await listen(driver, undefined, ({ samples: some }) => {
        const server = ofServer(some.at(-1), driver.serverId);
        return server?.cpuPercent !== undefined && server.diskUsedBytes !== undefined;
      });
      const [first, second] = samples.filter(sample => ofServer(sample, driver.serverId) !== undefined);
      expect(ofServer(first, driver.serverId)?.cpuPercent, 'of a run’s first sample').to.equal(undefined);
      expect(ofServer(second, driver.serverId)?.cpuPercent).to.be.within(0, 400);
      const { host } = samples.at(-1) ?? {};
      expect(host?.cpuPercent).to.be.within(0, 100);
      expect(host?.memoryUsedBytes).to.be.within(1e7, host?.memoryTotalBytes ?? 0);
      expect(host?.diskUsedBytes).to.be.within(1e6, host?.diskTotalBytes ?? 0);
      const server = ofServer(samples.at(-1), driver.serverId);
      expect(server?.runId).to.equal(runId);
      expect(server?.memoryUsedBytes).to.be.within(1e5, 1e8);
      expect(server?.uptimeSeconds).to.be.within(0, 60);
      expect(server?.diskUsedBytes).to.be.within(1_000, 1e7);
      // It neither listens on its port nor has a console that can be asked: that does not look like hanging.
      expect(server).to.include({ playersOnline: undefined, tps: undefined, unresponsiveSeconds: undefined });
    });

    it('end with the server', async () => {
      await boot(IDLE);
      await seen(driver, () => true);
      await driver.cleanUp();
      const { samples } = await listen(
        driver,
        undefined,
        ({ samples: some }) => some.length > 0 && ofServer(some.at(-1), driver.serverId) === undefined,
      );
      expect(samples.some(sample => ofServer(sample, driver.serverId) !== undefined)).to.equal(true);
    });

    it('go on after the reader’s position, with neither gap nor repeat', async () => {
      const first = await listen(driver, undefined, ({ samples }) => samples.length >= 3);
      expectNoHoles(seqsOf(first), 1);
      const seq = seqsOf(first).at(-1) ?? 0;
      const position = { incarnation: first.incarnation, seq };
      const second = await listen(driver, position, ({ samples }) => samples.length >= 3);
      expectNoHoles(seqsOf(second), seq + 1);
      const other = { incarnation: randomUUID(), seq };
      const third = await listen(driver, other, ({ samples }) => samples.length > 0);
      expectNoHoles(seqsOf(third), 1);
    });

    it('begin at 1 in the agent’s next life, which finds the servers again', async () => {
      const { runId } = await boot(IDLE);
      const before = await listen(driver, undefined, ({ samples }) => samples.length > 0);
      await agent.restart();
      const position = { incarnation: before.incarnation, seq: 1_000_000 };
      const after = await listen(driver, position, ({ samples }) => samples.length >= 2);
      expect(after.incarnation).to.not.equal(before.incarnation);
      expectNoHoles(seqsOf(after), 1);
      expect(ofServer(after.samples[0], driver.serverId)?.runId).to.equal(runId);
    });

    it('count what a server has started', async () => {
      await boot(BUSY);
      const { cpuPercent } = await seen(driver, server => (server.cpuPercent ?? 0) > 15);
      expect(cpuPercent).to.be.lessThan(250);
    });

    it('carry the ticks per second of consoles that can be asked, without a trace in the history', async () => {
      const { runId } = await boot(PAPER, 'paper');
      expect((await seen(driver, ({ tps }) => tps !== undefined)).tps).to.equal(19.5);
      const asked = async (): Promise<number> =>
        (await readFile(join(agent.process.workDir, driver.serverId, 'asked'), 'utf8')).split('\n').length -
        1;
      // A person asks too, again and again, while the agent does.
      const probesBefore = await asked();
      const hangUp = new AbortController();
      const listening = listen(driver, undefined, () => false, hangUp.signal).catch(() => undefined);
      for (let n = 0; n < 5; n++) {
        const times = await asked();
        await driver.send('tps');
        await waitFor(async () => (await asked()) > times + 1, {
          what: 'a question of the agent’s in between',
        });
      }
      await driver.send('mark');
      const from = { console: { [driver.serverId]: { runId, offset: 0 } } };
      for (let reader = 0; reader < 2; reader++) {
        const heard = await hear(driver, from, current =>
          linesOf(current).some(line => line.includes('mark')),
        );
        const shown = linesOf(heard).filter(line => line.includes('TPS from last'));
        expect(shown, `reader ${reader}`).to.have.length(5);
        for (const [index, chunk] of heard.chunks.entries())
          expect(chunk.offset).to.equal(index === 0 ? 0 : heard.chunks[index - 1]?.nextOffset);
      }
      expect(await asked()).to.be.greaterThan(probesBefore + 5);
      hangUp.abort();
      await listening;
    });

    it('ask no console while nobody listens', async () => {
      const { readyAtMs } = await boot(PAPER, 'paper');
      await waitFor(() => Date.now() > readyAtMs + 1_500, { what: 'three intervals to pass' });
      await driver.send('mark');
      const asked = join(agent.process.workDir, driver.serverId, 'asked');
      expect(await readFile(asked, 'utf8').catch(() => 'never')).to.equal('never');
      await seen(driver, ({ tps }) => tps === 19.5);
    });
  });

  describe('of a real Minecraft server', () => {
    let jar: MinecraftJar;
    let upstream: JarServer;
    let host: AgentProcess;
    let gateway: AgentGateway;
    let driver: AgentDriver;
    let port: number;
    let server: ServerState;

    before(async function () {
      this.timeout(11 * 60_000);
      jar = await buildMinecraftJar();
      upstream = await serveJar(jar.path);
      host = await startAgentProcess({ env: OFTEN });
      gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
      port = await freePort();
      driver = new AgentDriver(contractAgent(), gateway);
      const folder = join(host.workDir, driver.serverId);
      await mkdir(folder);
      await writeFile(join(folder, 'server.properties'), 'server-ip=127.0.0.1\n');
      await driver.provision();
      const end = await driver.run(driver.request({ $case: 'start', start: start() }));
      if (end.server?.state !== ProcessState.RUNNING) throw new Error(`${end.errorCode}: ${end.errorDetail}`);
      server = end.server;
    });

    after(async () => {
      await driver.cleanUp();
      await gateway.close();
      await host.stop();
      await upstream.close();
    });

    const settings = () => ({ port, maxPlayers: 7, eulaAccepted: true });

    function start(): StartWork {
      return {
        settings: settings(),
        memoryMinMb: 64,
        memoryMaxMb: 256,
        javaArgs: [...cheapJvmFlags],
        jarFile: 'server.jar',
        javaMajor: 0,
        javaPinned: false,
        readyTimeoutSeconds: 60,
        serverType: 'paper',
        leased: false,
      };
    }

    function contractAgent(): ContractAgent {
      const artifact = jarArtifact({ url: upstream.url, sha256: jar.sha256, sizeBytes: jar.size });
      return {
        address: addressOf(host),
        provision: () => provisionWork(artifact, settings()),
        start,
        crash: ({ pid }) => void process.kill(pid, 'SIGKILL'),
        freeze: () => undefined,
        thaw: () => undefined,
        restart: () => host.restart(),
        stop: () => host.stop(),
      };
    }

    it('count its players', async () => {
      const idle = await seen(driver, ({ playersOnline }) => playersOnline === 0);
      expect(idle).to.include({ runId: server.runId, unresponsiveSeconds: 0 });
      expect(idle.memoryUsedBytes).to.be.within(5e7, 1e9);
      expect(idle.diskUsedBytes).to.be.greaterThan(jar.size);
      const player = await joinServer({ port, username: 'ann' });
      await seen(driver, ({ playersOnline }) => playersOnline === 1);
      await player.quit();
      await seen(driver, ({ playersOnline }) => playersOnline === 0);
    });

    it('tell its ticks per second', async () => {
      const { tps } = await seen(driver, sample => sample.tps !== undefined);
      expect(tps).to.be.within(1, 20);
    });

    it('notice that its process is stopped, and that it goes on', async () => {
      process.kill(server.pid, 'SIGSTOP');
      try {
        const stopped = await seen(driver, ({ unresponsiveSeconds }) => (unresponsiveSeconds ?? 0) > 3);
        expect(stopped.playersOnline).to.equal(undefined);
      } finally {
        process.kill(server.pid, 'SIGCONT');
      }
      await seen(driver, ({ unresponsiveSeconds }) => unresponsiveSeconds === 0);
    });

    it('notice that its main thread hangs while pings are answered', async () => {
      await driver.send('hang 14');
      const hung = await seen(driver, ({ unresponsiveSeconds }) => (unresponsiveSeconds ?? 0) > 10);
      expect(hung.playersOnline, 'the ping is answered').to.equal(0);
      await seen(driver, ({ unresponsiveSeconds }) => unresponsiveSeconds === 0);
      const from = { console: { [driver.serverId]: { runId: server.runId, offset: 0 } } };
      await driver.send('say mark');
      const heard = await hear(driver, from, current => linesOf(current).some(line => line.includes('mark')));
      expect(linesOf(heard).filter(line => line.includes('TPS'))).to.deep.equal([]);
    });

    it('do not call a server unresponsive that is being stopped', async () => {
      await driver.send('hang 3');
      const stop = driver.request({ $case: 'stop', stop: { consoleSeconds: 20, termSeconds: 5, runId: '' } });
      await driver.submit(stop);
      await waitFor(async () => (await driver.state())?.state === ProcessState.STOPPING, {
        what: 'the stop',
      });
      const stopping = await seen(driver, ({ cpuPercent }) => cpuPercent !== undefined);
      expect(stopping.unresponsiveSeconds).to.equal(undefined);
      expect((await driver.outcome(stop)).server?.exitCode).to.equal(0);
    });
  });
});
