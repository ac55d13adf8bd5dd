import { randomUUID } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import {
  type ConsoleChunk,
  ProcessState,
  type ServerState,
  type StateChange,
  WorkState,
} from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, hear, KILL, linesOf, stopWork } from '#test/contract/agentDriver.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { startAgentProcess } from '#test/harness/agentProcess.js';
import { tinyJar } from '#test/harness/fakeJava.js';
import { copiesOf, makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';
import { provisionWork } from '#test/harness/provisionWork.js';

const READY = `say 'Done (0.1s)! For help, type "help"'`;
const COMMANDS = `while read -r line; do case $line in stop) say 'Stopping the server'; exit 0;; *) say "got $line";; esac; done`;
/** Becomes ready once the file `go` is in its folder. */
const WAITS = `say 'Preparing level'; until [ -e go ]; do sleep 0.05; done; ${READY}; ${COMMANDS}`;
/** Takes its time to stop: until the file `go`. */
const SLOW_STOP = `${READY}; while read -r line; do until [ -e go ]; do sleep 0.05; done; exit 0; done`;
const DEAF = `trap '' TERM; ${READY}; while :; do sleep 0.1; done`;

describe('agent under faults', function () {
  this.timeout(60_000);

  let agent: ShellAgent;
  let gateway: AgentGateway;
  let driver: AgentDriver;

  before(async () => {
    agent = await makeShellAgent(tinyJar('x'.repeat(600_000)), {
      AYMC_ORACLE: '/oracle',
      AGENT_SECRET: 'never told',
    });
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
  const stateFolder = (): string => join(agent.process.workDir, '.aymc/servers', driver.serverId);
  const go = (): Promise<void> => writeFile(join(folder(), 'go'), '');

  async function startOf(script: string, overrides = {}) {
    const start = await agent.startScript(script, overrides);
    return driver.request({ $case: 'start', start });
  }

  async function booted(script: string): Promise<ServerState> {
    await driver.provision();
    const { server, errorDetail } = await driver.run(await startOf(script));
    if (server?.state !== ProcessState.RUNNING) throw new Error(`did not boot: ${errorDetail}`);
    return server;
  }

  function seen(state: ProcessState): Promise<ServerState> {
    return waitFor(
      async () => {
        const now = await driver.state();
        return now?.state === state ? now : undefined;
      },
      { what: `the server to be ${state}` },
    );
  }

  /** The last change that the journal tells. */
  async function lastChange(to: ProcessState): Promise<StateChange | undefined> {
    const { changes } = await hear(driver, {}, heard => heard.changes.at(-1)?.state?.state === to);
    return changes.at(-1);
  }

  describe('killed', () => {
    it('during a start: the next agent waits on for the same process', async () => {
      await driver.provision();
      const start = await startOf(WAITS);
      await driver.submit(start);
      const starting = await waitFor(async () => ((await driver.state())?.pid ? driver.state() : undefined), {
        what: 'the process',
      });
      await agent.process.kill('SIGKILL');
      await go();
      await agent.restart();
      const end = await driver.outcome(start);
      expect(end.state).to.equal(WorkState.SUCCEEDED);
      expect(end.server?.pid).to.equal(starting.pid);
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([starting.pid]);
    });

    it('during a start whose server ends meanwhile: the next agent says why', async () => {
      await driver.provision();
      const start = await startOf(
        `say 'Preparing level'; until [ -e go ]; do sleep 0.05; done; say 'no luck'; exit 3`,
      );
      await driver.submit(start);
      await seen(ProcessState.STARTING);
      await agent.process.kill('SIGKILL');
      await go();
      await waitFor(async () => (await copiesOf(agent.process, driver.serverId)).length === 0, {
        what: 'the end',
      });
      await agent.restart();
      const end = await driver.outcome(start);
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'start-failed' });
      expect(end.errorDetail).to.include('exit code 3').and.to.include('no luck');
    });

    it('between the record of a run and its guard: the next agent starts it, once', async () => {
      await driver.provision();
      const start = await startOf(`${READY}; ${COMMANDS}`);
      await driver.submit(start);
      await driver.outcome(start);
      await driver.run(driver.request(KILL));
      // What the disk holds when the agent dies right after the record: an accepted step, a run without pid.
      const again = await startOf(`${READY}; ${COMMANDS}`);
      await agent.process.kill('SIGKILL');
      const runs = join(stateFolder(), 'runs');
      const [first] = await readdir(runs);
      const record = JSON.parse(await readFile(join(runs, first ?? '', 'run.json'), 'utf8')) as unknown;
      const runId = `${again.key?.opId}/${again.key?.step}`;
      await mkdir(join(runs, '00000002'));
      await writeFile(
        join(runs, '00000002', 'run.json'),
        JSON.stringify({
          ...Object(record),
          run_id: runId,
          stop_cause: undefined,
          ready_at_ms: 0,
          ended_at_ms: 0,
          exit_code: undefined,
          started_at_boot_seconds: uptime(),
        }),
      );
      await agent.restart();
      await driver.submit(again);
      const end = await driver.outcome(again);
      expect(end.state).to.equal(WorkState.SUCCEEDED);
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([end.server?.pid]);
    });

    it('during a stop: the next agent brings it to its end, and it is no crash', async () => {
      const server = await booted(SLOW_STOP);
      const stop = driver.request(stopWork());
      await driver.submit(stop);
      await seen(ProcessState.STOPPING);
      await agent.process.kill('SIGKILL');
      await go();
      await agent.restart();
      const end = await driver.outcome(stop);
      expect(end.state).to.equal(WorkState.SUCCEEDED);
      expect(end.server).to.include({ state: ProcessState.STOPPED, runId: server.runId, exitCode: 0 });
      expect((await lastChange(ProcessState.STOPPED))?.reason).to.equal('stopped');
    });

    it('during a download: the next agent gets the rest', async () => {
      agent.upstream.misbehave('slow', 1);
      const provision = driver.request({
        $case: 'provision',
        provision: provisionWork(agent.artifact, agent.settings),
      });
      const served = agent.upstream.bytesServed();
      await rm(join(agent.process.workDir, '.aymc/cache'), { recursive: true, force: true });
      await driver.submit(provision);
      await waitFor(() => agent.upstream.bytesServed() > served + 100_000, { what: 'some bytes' });
      await agent.process.kill('SIGKILL');
      await agent.restart();
      expect((await driver.outcome(provision)).state).to.equal(WorkState.SUCCEEDED);
      expect(agent.upstream.requests.at(-1)?.range).to.match(/^bytes=[1-9]/);
    });

    it('while the server ends: the crash is told by the next agent', async () => {
      const { pid } = await booted(DEAF);
      await agent.process.kill('SIGKILL');
      process.kill(pid, 'SIGKILL');
      await agent.restart();
      const crashed = await seen(ProcessState.CRASHED);
      expect(crashed.exitCode).to.equal(137);
      expect((await lastChange(ProcessState.CRASHED))?.reason).to.equal('crash');
    });

    it('again and again under a flood: every console line arrives, once and in order', async () => {
      const last = 200_000;
      const server = await booted(
        `${READY}; i=0; while [ $i -lt ${last} ]; do i=$((i+1)); echo "line $i"; done; ${COMMANDS}`,
      );
      let position = { runId: server.runId, offset: 0 };
      const numbers: number[] = [];
      let dropped = 0;
      const read = async (): Promise<void> => {
        const request = {
          afterSeq: 0,
          journalId: '',
          console: { [driver.serverId]: position },
          samples: undefined,
        };
        for await (const { events } of gateway.streamEvents(agent.address, request)) {
          for (const { serverId, event } of events) {
            if (serverId !== driver.serverId || event?.$case !== 'console') continue;
            take(event.console);
          }
          if (numbers.at(-1) === last) return;
        }
      };
      const take = (chunk: ConsoleChunk): void => {
        expect(chunk.offset).to.equal(position.offset);
        position = { runId: chunk.runId, offset: chunk.nextOffset };
        dropped += chunk.droppedBytes;
        for (const line of chunk.lines) {
          const number = /^line (\d+)$/.exec(line)?.[1];
          if (number !== undefined) numbers.push(Number(number));
        }
      };
      for (let kills = 0; numbers.at(-1) !== last; kills++) {
        const reading = read().catch((error: unknown) => error);
        if (kills < 3) {
          await waitFor(() => numbers.length > kills * 1_000, { what: 'lines' });
          await agent.process.kill('SIGKILL');
        }
        await reading;
        if (kills < 3) await agent.restart();
      }
      expect(dropped).to.equal(0);
      expect(numbers.length).to.equal(last);
      expect(numbers.every((number, index) => number === index + 1)).to.equal(true);
      expect((await driver.state())?.pid).to.equal(server.pid);
    });

    it('by SIGTERM it is gone within 5 s, streams open or not, and the server plays on', async () => {
      const { pid } = await booted(DEAF);
      const following = hear(driver, {}, () => false).catch((error: unknown) => error);
      const begin = performance.now();
      await agent.process.kill('SIGTERM');
      expect(performance.now() - begin).to.be.lessThan(5_000);
      await following;
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([pid]);
      await agent.restart();
      expect((await driver.state())?.pid).to.equal(pid);
    });
  });

  describe('one copy', () => {
    it('whatever number of starts come at once', async () => {
      await driver.provision();
      const starts = await Promise.all(Array.from({ length: 10 }, () => startOf(`${READY}; ${COMMANDS}`)));
      await Promise.all(starts.map(start => driver.submit(start).catch((error: unknown) => error)));
      const newest = starts.reduce((a, b) => (a.opSeq > b.opSeq ? a : b));
      expect((await driver.outcome(newest)).state).to.equal(WorkState.SUCCEEDED);
      expect(await copiesOf(agent.process, driver.serverId)).to.have.lengthOf(1);
    });

    it('is found again when the records say that nothing runs', async () => {
      const { pid } = await booted(DEAF);
      await agent.process.kill('SIGKILL');
      const run = join(stateFolder(), 'runs', '00000001');
      const record: unknown = JSON.parse(await readFile(join(run, 'run.json'), 'utf8'));
      await writeFile(
        join(run, 'run.json'),
        JSON.stringify({ ...Object(record), ended_at_ms: 1, exit_code: 0 }),
      );
      await rm(join(run, 'pid'));
      await agent.restart();
      expect(await driver.state()).to.include({ pid, state: ProcessState.RUNNING });
      expect((await driver.run(await startOf(DEAF))).server?.pid).to.equal(pid);
      expect((await driver.run(driver.request(KILL))).server?.state).to.equal(ProcessState.STOPPED);
    });

    it('is guarded by the kernel lock even when all records are gone', async () => {
      const { pid } = await booted(DEAF);
      await agent.process.kill('SIGKILL');
      await rename(join(stateFolder(), 'runs'), join(stateFolder(), 'lost'));
      await agent.restart();
      const end = await driver.run(await startOf(DEAF));
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'server-running' });
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([pid]);
      process.kill(-pid, 'SIGKILL');
    });

    it('of the agent, too: a second one for the same folder does not start', async () => {
      const second = startAgentProcess({ workDir: agent.process.workDir });
      const error: unknown = await second.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(String(error)).to.include('ended with 75');
    });
  });

  describe('a process', () => {
    it('that loses its guard dies with it, and can be started again', async () => {
      const { pid, runId } = await booted(DEAF);
      const guard = Number((await readFile(join(stateFolder(), 'runs/00000001/pid'), 'utf8')).split(' ')[3]);
      process.kill(guard, 'SIGKILL');
      const crashed = await seen(ProcessState.CRASHED);
      expect(crashed).to.include({ runId, exitCode: 137 });
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([]);
      const again = await driver.run(await startOf(`${READY}; ${COMMANDS}`));
      expect(again.server?.pid).to.not.equal(pid);
    });

    it('that hears nothing is stopped all the same, also by an agent that did not start it', async () => {
      await booted(DEAF);
      await agent.restart();
      const begin = performance.now();
      const stop = driver.request({ $case: 'stop', stop: { consoleSeconds: 1, termSeconds: 1, runId: '' } });
      const end = await driver.run(stop);
      expect(end.server).to.include({ state: ProcessState.STOPPED, exitCode: 137 });
      expect(performance.now() - begin).to.be.within(1_900, 4_000);
    });

    it('with a full console is busy for commands and still stopped', async () => {
      await booted(DEAF);
      const fill = async (): Promise<void> => {
        for (let i = 0; i < 40; i++) await driver.send('x'.repeat(4_000));
      };
      expect(await rejectionCode(fill())).to.equal('console-busy');
      const stop = driver.request({ $case: 'stop', stop: { consoleSeconds: 1, termSeconds: 1, runId: '' } });
      expect((await driver.run(stop)).server?.state).to.equal(ProcessState.STOPPED);
    });

    it('stopped by a player on the console has stopped, not crashed', async () => {
      await booted(`${READY}; ${COMMANDS}`);
      await driver.send('stop');
      const stopped = await seen(ProcessState.STOPPED);
      expect(stopped.exitCode).to.equal(0);
      expect((await lastChange(ProcessState.STOPPED))?.reason).to.equal('exit');
    });

    it('is stopped by its guard when its lease is over', async () => {
      await booted(`${READY}; ${COMMANDS}`);
      const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
      const now = Math.floor(uptime());
      await writeFile(join(stateFolder(), 'lease.tmp'), `${boot} ${now - 1} ${now + 1}\n`);
      await rename(join(stateFolder(), 'lease.tmp'), join(stateFolder(), 'lease'));
      await agent.process.kill('SIGKILL');
      await waitFor(async () => (await copiesOf(agent.process, driver.serverId)).length === 0, {
        what: 'the stop',
      });
      await agent.restart();
      await seen(ProcessState.STOPPED);
      expect((await lastChange(ProcessState.STOPPED))?.reason).to.equal('lease-expired');
    });

    it('gets a clean environment: who it is, and nothing of the agent’s', async () => {
      await booted(`${READY}; env | while read -r entry; do echo "env $entry"; done; echo end; ${COMMANDS}`);
      const state = await driver.state();
      const from = { runId: state?.runId ?? '', offset: 0 };
      const heard = await hear(driver, { console: { [driver.serverId]: from } }, ({ chunks }) =>
        chunks.some(({ lines }) => lines.includes('end')),
      );
      const names = linesOf(heard).flatMap(line => /^env (\w+)=/.exec(line)?.[1] ?? []);
      const allowed = 'PATH HOME LANG JAVA_HOME AYMC_SERVER_ID AYMC_AGENT_ID AYMC_EPOCH AYMC_ORACLE';
      // The shell's own, and what node adds to every child while coverage is measured.
      const others = ['PWD', 'OLDPWD', 'SHLVL', '_', 'NODE_V8_COVERAGE'];
      expect(names.filter(name => !others.includes(name))).to.have.members(allowed.split(' '));
      expect(linesOf(heard))
        .to.include(`env AYMC_SERVER_ID=${driver.serverId}`)
        .and.to.include('env AYMC_EPOCH=1');
    });
  });

  describe('a start', () => {
    async function failing(script: string, overrides = {}) {
      await driver.provision();
      return driver.run(await startOf(script, overrides));
    }

    it('that ends before it is ready says so with its code and last words', async () => {
      const end = await failing(
        `say 'Loading'; echo 'java.io.IOException: no'; printf '\\tat a.b\\n'; exit 5`,
      );
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'start-failed' });
      expect(end.errorDetail).to.equal('ended with exit code 5: Loading | java.io.IOException: no');
      expect(end.server?.state).to.equal(ProcessState.CRASHED);
    });

    it('on a taken port, without EULA or with the wrong Java is told by its name', async () => {
      const port = await failing(`say '**** FAILED TO BIND TO PORT!'; exit 1`);
      expect(port.errorCode).to.equal('port-in-use');
      const eula = await failing(
        `say 'You need to agree to the EULA in order to run the server. Go to eula.txt'; exit 0`,
      );
      expect(eula.errorCode).to.equal('eula-not-accepted');
      const java = await failing(`echo 'java.lang.UnsupportedClassVersionError: x'; exit 1`);
      expect(java.errorCode).to.equal('java-missing');
    });

    it('does nothing at all without an accepted EULA, or without its Java', async () => {
      const eula = await failing(READY, { settings: { ...agent.settings, eulaAccepted: false } });
      expect(eula.errorCode).to.equal('eula-not-accepted');
      const java = await failing(READY, { javaMajor: 99 });
      expect(java.errorCode).to.equal('java-missing');
      expect(await readdir(join(stateFolder(), 'runs')).catch(() => [])).to.deep.equal([]);
    });

    it('that takes too long is ended', async () => {
      const end = await failing(`say 'Preparing level'; trap '' TERM; while :; do sleep 0.1; done`, {
        readyTimeoutSeconds: 1,
      });
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'start-timeout' });
      expect(end.errorDetail).to.include('Preparing level');
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([]);
    });

    it('comes after the stop that it overtakes has ended', async () => {
      const { pid } = await booted(SLOW_STOP);
      const stop = driver.request(stopWork());
      await driver.submit(stop);
      await seen(ProcessState.STOPPING);
      const start = await startOf(`${READY}; ${COMMANDS}`);
      await driver.submit(start);
      expect((await driver.outcome(stop)).errorCode).to.equal('superseded');
      await go();
      const end = await driver.outcome(start);
      expect(end.server?.state).to.equal(ProcessState.RUNNING);
      expect(end.server?.pid).to.not.equal(pid);
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([end.server?.pid]);
    });

    it('cancelled before a crash of the agent stays cancelled', async () => {
      await driver.provision();
      const start = await startOf(`trap '' TERM; say 'Preparing level'; while :; do sleep 0.1; done`);
      await driver.submit(start);
      await waitFor(async () => (await driver.state())?.pid, { what: 'the process' });
      await driver.cancel(start);
      await agent.restart();
      expect((await driver.outcome(start)).state).to.equal(WorkState.CANCELLED);
      expect(await copiesOf(agent.process, driver.serverId)).to.deep.equal([]);
    });
  });

  it('a cancelled download keeps what it has, and the next one goes on from there', async () => {
    await rm(join(agent.process.workDir, '.aymc/cache'), { recursive: true, force: true });
    agent.upstream.misbehave('slow', 1);
    const served = agent.upstream.bytesServed();
    const provision = provisionWork(agent.artifact, agent.settings);
    const first = driver.request({ $case: 'provision', provision });
    await driver.submit(first);
    await waitFor(() => agent.upstream.bytesServed() > served + 100_000, { what: 'some bytes' });
    await driver.cancel(first);
    expect((await driver.outcome(first)).state).to.equal(WorkState.CANCELLED);
    expect(await readdir(folder())).to.deep.equal([]);
    expect((await driver.run(driver.request({ $case: 'provision', provision }))).state).to.equal(
      WorkState.SUCCEEDED,
    );
    expect(agent.upstream.requests.at(-1)?.range).to.match(/^bytes=[1-9]/);
  });

  it('a reader who was away catches up over all runs, in order, to the end of each', async () => {
    await driver.provision();
    for (const run of [1, 2, 3]) {
      await driver.run(await startOf(`${READY}; echo "run ${run}"; ${COMMANDS}`));
      await driver.run(driver.request(stopWork()));
    }
    await driver.run(await startOf(`${READY}; printf 'last words'; exit 4`));
    const everything = { [driver.serverId]: { runId: '', offset: 0 } };
    const heard = await hear(driver, { console: everything }, current =>
      linesOf(current).includes('last words'),
    );
    const told = linesOf(heard).filter(line => /^run \d$|Stopping|last words/.test(line));
    expect(told.map(line => line.replace(/^\[.*\]: /, ''))).to.deep.equal([
      'run 1',
      'Stopping the server',
      'run 2',
      'Stopping the server',
      'run 3',
      'Stopping the server',
      'last words',
    ]);
    expect(new Set(heard.chunks.map(({ runId }) => runId)).size).to.equal(4);
  });

  it('a reader who does not read costs no memory and slows nobody', async () => {
    const server = await booted(`${READY}; ${COMMANDS}`);
    const other = new AgentDriver(agent, gateway);
    const abort = new AbortController();
    const flood = await agent.startScript(
      `${READY}; line=$(printf '%01000d' 0); i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo "$line"; done; echo end; ${COMMANDS}`,
    );
    await other.provision();
    const request = { afterSeq: 0, journalId: '', console: {}, samples: undefined };
    const stream = gateway.streamEvents(agent.address, request, { signal: abort.signal });
    const asleep = stream[Symbol.asyncIterator]();
    await asleep.next();
    try {
      const started = await other.run(other.request({ $case: 'start', start: flood }));
      const from = { runId: started.server?.runId ?? '', offset: 0 };
      await hear(other, { console: { [other.serverId]: from } }, heard => linesOf(heard).includes('end'));
      const status = await readFile(`/proc/${agent.process.pid}/status`, 'utf8');
      expect(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024, 'peak MB').to.be.lessThan(220);
      const mark = randomUUID();
      await driver.send(mark);
      const position = { runId: server.runId, offset: 0 };
      await hear(driver, { console: { [driver.serverId]: position } }, heard =>
        linesOf(heard).join().includes(mark),
      );
    } finally {
      abort.abort();
      await asleep.next().catch((error: unknown) => error);
      await other.cleanUp();
    }
  });
});
