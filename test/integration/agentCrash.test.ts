import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { ProcessState, type ServerState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, hear, KILL, type Heard } from '#test/contract/agentDriver.js';
import { copiesOf, makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const READY = `say 'Done (0.1s)! For help, type "help"'`;
const COMMANDS = `while read -r line; do case $line in stop) say 'Stopping the server'; exit 0;; *) eval "$line";; esac; done`;
const SERVER = `${READY}; ${COMMANDS}`;
/** What a Minecraft server does when it is told to end by a signal. */
const SAVES_ON_TERM = `trap "say 'Stopping server'; say 'Saving worlds'; exit 143" TERM; ${READY}; while :; do sleep 0.1; done`;
/** A state follows its process within this time, whatever ended it. */
const SEEN_WITHIN_MS = 2_000;

describe('agent, when a server ends by itself', function () {
  this.timeout(60_000);

  let agent: ShellAgent;
  let gateway: AgentGateway;
  let driver: AgentDriver;

  before(async () => {
    agent = await makeShellAgent();
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

  const folder = (): string => join(agent.process.workDir, driver.serverId);
  const runFolder = (): string =>
    join(agent.process.workDir, '.aymc/servers', driver.serverId, 'runs/00000001');

  async function booted(script: string): Promise<ServerState> {
    await driver.provision();
    const start = await agent.startScript(script);
    const { server, errorDetail } = await driver.run(driver.request({ $case: 'start', start }));
    if (server?.state !== ProcessState.RUNNING) throw new Error(`did not boot: ${errorDetail}`);
    return server;
  }

  /** The state as the agent tells it when asked, which it must soon after the process is gone. */
  async function ended(state: ProcessState): Promise<ServerState> {
    await waitFor(async () => (await copiesOf(agent.process, driver.serverId)).length === 0, {
      what: 'the process to end',
    });
    return waitFor(
      async () => {
        const now = await driver.state();
        return now?.state === state ? now : undefined;
      },
      { timeoutMs: SEEN_WITHIN_MS, what: `the server to be ${state}` },
    );
  }

  async function lastChange() {
    const over = ({ changes }: Heard): boolean =>
      changes.some(({ state }) => state !== undefined && state.endedAtMs > 0);
    return (await hear(driver, {}, over)).changes.at(-1);
  }

  describe('by a crash', () => {
    it('says why: with the state, in its journal, and after its own death', async () => {
      await mkdir(join(agent.process.workDir, driver.serverId), { recursive: true });
      await booted(SERVER);
      await mkdir(join(folder(), 'crash-reports'));
      const report = join(folder(), 'crash-reports/crash-1-server.txt');
      await writeFile(report, '---- Minecraft Crash Report ----\nDescription: Ticking entity\n');
      await driver.send(`say '<Mallory> java.lang.OutOfMemoryError: Java heap space'`);
      await driver.send(`say 'This crash report has been saved to: ${report}'; exit 1`);
      const { cause, exitCode } = await ended(ProcessState.CRASHED);
      expect(exitCode).to.equal(1);
      expect(cause).to.deep.include({
        code: 'crash-report',
        detail: 'It crashed: Ticking entity',
        reportPath: 'crash-reports/crash-1-server.txt',
      });
      expect(cause?.evidence.at(-1)).to.include('This crash report has been saved to: ');
      expect((await lastChange())?.state?.cause).to.deep.equal(cause);

      await agent.restart();
      expect((await driver.state())?.cause).to.deep.equal(cause);
      expect((await lastChange())?.state?.cause).to.deep.equal(cause);
    });

    it('of which it was not a witness, says why all the same', async () => {
      await booted(`${READY}; read -r line; echo 'java.lang.OutOfMemoryError: Java heap space'; exit 3`);
      await agent.process.kill('SIGKILL');
      await writeFile(join(runFolder(), 'stdin'), 'go\n');
      await waitFor(async () => (await copiesOf(agent.process, driver.serverId)).length === 0, {
        what: 'the process to end',
      });
      await agent.restart();
      const change = await lastChange();
      expect(change).to.include({ reason: 'crash', previous: ProcessState.RUNNING });
      expect(change?.state?.cause).to.include({
        code: 'out-of-memory',
        detail: 'It ran out of memory: java.lang.OutOfMemoryError: Java heap space',
      });
    });

    it('tells a kill from outside, a kill of its guard, and a death by another signal apart', async () => {
      const kills = {
        killed: ({ pid }: ServerState) => process.kill(pid, 'SIGKILL'),
        signal: ({ pid }: ServerState) => process.kill(pid, 'SIGABRT'),
        unseen: async () => {
          const [, , , guard] = (await readFile(join(runFolder(), 'pid'), 'utf8')).split(' ');
          return process.kill(Number(guard), 'SIGKILL');
        },
      };
      for (const [code, kill] of Object.entries(kills)) {
        driver = new AgentDriver(agent, gateway);
        await kill(await booted(`${READY}; while :; do sleep 0.1; done`));
        expect((await ended(ProcessState.CRASHED)).cause?.code).to.equal(code);
        await driver.cleanUp();
      }
    });

    it('counts what ends a server while its host goes down as unseen, whatever the signal', async () => {
      const { pid } = await booted(SAVES_ON_TERM);
      await agent.process.kill('SIGKILL');
      process.kill(pid, 'SIGTERM');
      await waitFor(() => readFile(join(runFolder(), 'exit')), { what: 'the exit code' });
      // As after a restart of the host: what is noted down names another boot of the kernel.
      const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
      for (const name of ['run.json', 'pid']) {
        const file = join(runFolder(), name);
        await writeFile(
          file,
          (await readFile(file, 'utf8')).replace(boot, boot.replaceAll(/[0-9a-f]/g, '0')),
        );
      }
      await agent.restart();
      const state = await ended(ProcessState.CRASHED);
      expect(state.exitCode).to.equal(143);
      expect(state.cause).to.include({ code: 'unseen', detail: 'Nobody saw it end: its host went down' });
    });

    it('forgets the cause with the next start, and has none for a kill of its own', async () => {
      const { pid } = await booted(SERVER);
      process.kill(pid, 'SIGKILL');
      await ended(ProcessState.CRASHED);
      const again = await booted(SERVER);
      expect(again.cause).to.equal(undefined);
      const { server } = await driver.run(driver.request(KILL));
      expect(server).to.include({ state: ProcessState.STOPPED, exitCode: 137, cause: undefined });
    });
  });

  describe('because somebody wanted it to', () => {
    const wanted = async (exitCode: number) => {
      const state = await ended(ProcessState.STOPPED);
      expect(state).to.include({ exitCode, cause: undefined });
      expect((await lastChange())?.reason).to.equal('exit');
    };

    it('by `stop` in the game, it has stopped', async () => {
      await booted(SERVER);
      await driver.send(`say '[Steve: Stopping the server]'; say 'Stopping server'; exit 0`);
      await wanted(0);
    });

    it('by a signal of the host, it has stopped, saved or not', async () => {
      const { pid } = await booted(SAVES_ON_TERM);
      process.kill(pid, 'SIGTERM');
      await wanted(143);
      driver = new AgentDriver(agent, gateway);
      process.kill((await booted(`${READY}; while :; do sleep 0.1; done`)).pid, 'SIGHUP');
      await wanted(129);
    });

    it('by a restart in the game, it has stopped: its script makes no second copy beside the guard', async () => {
      const { pid } = await booted(SERVER);
      const script = 'touch script-ran; exec sleep 60';
      await driver.send(
        `say 'Attempting to restart with ./start.sh'; sh -c '${script}' & until [ -e script-ran ]; do sleep 0.02; done; exit 0`,
      );
      await wanted(0);
      const again = await booted(SERVER);
      expect(again.pid).to.not.equal(pid);
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([again.pid]);
    });
  });
});
