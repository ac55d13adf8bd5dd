import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import {
  AgentServiceService,
  ArtifactKind,
  ProcessState,
  WorkState,
  type ServerState,
  type WorkStatus,
} from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { AgentDriver, DELETE, KILL, hear, keyOf, linesOf, stopWork } from '#test/contract/agentDriver.js';
import { FAKE_START } from '#test/contract/fakeContractAgent.js';
import {
  FAKE_JAR_BYTES,
  type FakeVersion1Agent,
  type FakeVersion1Options,
} from '#test/fakeAgent/version1.js';
import { rejectionCode } from '#test/harness/rejection.js';
import {
  provisionOf,
  SETTINGS,
  silentGateway,
  startVersion1,
  type Version1Setting,
} from '#test/harness/version1.js';
import { waitFor } from '#test/harness/waitFor.js';

const SOME_LINES = 40;

describe('agents of version 1, through the gateway', function () {
  this.timeout(20_000);

  let setting: Version1Setting;
  let fake: FakeVersion1Agent;
  let gateway: AgentGateway;
  let driver: AgentDriver;

  async function setUp(options: FakeVersion1Options = {}): Promise<void> {
    setting = await startVersion1(options);
    ({ fake, gateway, driver } = setting);
  }

  afterEach(() => setting.close());

  const state = async (): Promise<ServerState> => {
    const found = await driver.state();
    if (!found) throw new Error('the agent does not know the server');
    return found;
  };

  /** Follows the agent as a worker's link does, until the test ends. */
  function follow(): string[] {
    const lines: string[] = [];
    const ending = new AbortController();
    const following = (async () => {
      const from = { afterSeq: 0, journalId: '', console: {}, samples: undefined };
      for await (const { events } of gateway.streamEvents(fake.address, from, { signal: ending.signal })) {
        for (const { event } of events) if (event?.$case === 'console') lines.push(...event.console.lines);
      }
    })().catch(() => undefined);
    setting.beforeEnd(async () => {
      ending.abort();
      await following;
    });
    return lines;
  }

  it('say what they are: no durable work, no dedup, no adoption, no leases', async () => {
    await setUp();
    const hello = await gateway.hello(fake.address);
    expect(hello).to.deep.include({
      agentId: 'go-agent',
      version: '1.0.0',
      bootId: '',
      capabilities: ['version-1'],
    });
    expect(hello.javaRuntimes).to.deep.equal([{ path: '/usr/bin/java', major: 21, version: '21.0.3' }]);
    expect((await gateway.health(fake.address)).healthy).to.equal(true);
    expect((await gateway.metrics(fake.address)).memoryTotal).to.equal(8e9);
  });

  it('are provisioned with paper: jar, EULA and settings; what is there is not fetched again', async () => {
    await setUp();
    fake.files.put(`${driver.serverId}/server.properties`, Buffer.from('# mine\nmotd=hi\nserver-port=1\n'));
    const provision = await driver.provision();
    expect(provision.state).to.equal(WorkState.SUCCEEDED);
    expect(fake.files.text(`${driver.serverId}/eula.txt`)).to.equal('eula=true\n');
    expect(fake.files.text(`${driver.serverId}/server.properties`)).to.equal(
      '# mine\nmotd=hi\nserver-port=25570\nmax-players=7\n',
    );
    expect((await state()).provisioned).to.equal(true);
    const sized = provisionOf('paper', { sizeBytes: FAKE_JAR_BYTES });
    await driver.run(driver.request({ $case: 'provision', provision: sized }));
    expect(countOf('downloadServer')).to.equal(1);
  });

  it('refuse other types with the way out, and take the jar that was put there by hand', async () => {
    await setUp();
    const request = () => driver.request({ $case: 'provision', provision: provisionOf('vanilla') });
    const refused = await driver.run(request());
    expect(refused).to.include({ state: WorkState.FAILED, errorCode: 'agent-unsupported' });
    const path = `${fake.workDir}/${driver.serverId}/server.jar`;
    expect(refused.errorDetail).to.include(path);
    fake.files.put(path, Buffer.from('a jar'));
    expect((await driver.run(request())).state).to.equal(WorkState.SUCCEEDED);
  });

  it('run no installers, and say so whatever lies there', async () => {
    await setUp();
    fake.files.put(`${driver.serverId}/server.jar`, Buffer.from('a jar'));
    const provision = provisionOf('forge', { kind: ArtifactKind.FORGE_INSTALLER });
    const end = await driver.run(driver.request({ $case: 'provision', provision }));
    expect(end).to.include({ state: WorkState.FAILED, errorCode: 'agent-unsupported' });
    expect(end.errorDetail).to.include('installers');
  });

  it('find a jar of another hash or size out, where it can be seen', async () => {
    await setUp();
    for (const known of [{ sizeBytes: 99 }, { sha256: 'ab'.repeat(32) }]) {
      const provision = provisionOf('purpur', known);
      const end = await driver.run(driver.request({ $case: 'provision', provision }));
      expect(end.errorCode).to.equal('checksum-mismatch');
    }
  });

  it('need a work_dir, and say so', async () => {
    await setUp();
    const homeless = { ...fake.address, work_dir: null };
    const call = gateway.inspectServers(homeless);
    expect(await rejectionCode(call)).to.equal('agent-unsupported');
  });

  it('are ready when the log says so, not when they answer', async () => {
    await setUp({ readyMs: Infinity });
    await driver.provision();
    const start = driver.startRequest();
    await driver.submit(start);
    await waitFor(async () => (await driver.state())?.state === ProcessState.STARTING, { what: 'a boot' });
    fake.print(driver.serverId, '[12:00:00 INFO]: <Mallory> Done (1.0s)! For help, type "help"');
    expect((await state()).state).to.equal(ProcessState.STARTING);
    fake.print(driver.serverId, '[12:00:00 INFO]: Done (1.0s)! For help, type "help"');
    const { server, state: ended } = await driver.outcome(start);
    expect(ended).to.equal(WorkState.SUCCEEDED);
    expect(server?.state).to.equal(ProcessState.RUNNING);
  });

  it('do not become ready in their time: the run is ended', async () => {
    await setUp({ readyMs: Infinity });
    await driver.provision();
    const start = { ...FAKE_START, settings: SETTINGS, readyTimeoutSeconds: 1 };
    const end = await driver.run(driver.request({ $case: 'start', start }));
    expect(end.errorCode).to.equal('start-timeout');
    expect((await state()).state).to.equal(ProcessState.STOPPED);
  });

  it('start once, also when the answer is lost and when another process takes the step over', async () => {
    await setUp();
    await driver.provision();
    fake.lose('startServer', 'after');
    const start = driver.startRequest();
    expect((await driver.run(start)).state).to.equal(WorkState.SUCCEEDED);
    const other = silentGateway();
    setting.beforeEnd(() => other.close());
    await other.submitWork(fake.address, start);
    const ends: WorkStatus[] = [];
    for await (const each of other.watchWork(fake.address, keyOf(start), { deadlineMs: 10_000 }))
      ends.push(each);
    expect(ends.at(-1)?.state).to.equal(WorkState.SUCCEEDED);
    expect(fake.starts(driver.serverId)).to.equal(1);
    expect((await state()).runId).to.equal(`${keyOf(start).opId}/start`);
  });

  it('are never sent a start without config', async () => {
    await setUp();
    const server = await driver.boot();
    expect(fake.isUp()).to.equal(true);
    const calls = setting.wire();
    const request = { serverId: driver.serverId };
    const method = AgentServiceService.getServer;
    const { config } = await calls.unary({ agent: fake.address, method, request, options: {} });
    expect(config).to.include({ jarFile: 'server.jar', minRam: '512M', maxRam: '512M' });
    expect(server.pid).to.be.greaterThan(0);
  });

  it('are sent nothing while they stop a server, and lose no call for it', async () => {
    await setUp();
    await driver.boot();
    const lines = follow();
    const stop = driver.request(stopWork());
    await driver.submit(stop);
    await waitFor(() => countOf('stopServer') === 1, { what: 'the stop' });
    const during = await Promise.all([
      gateway.metrics(fake.address),
      gateway.info(fake.address),
      driver.state(),
    ]);
    expect((await gateway.ping(fake.address)).latencyMs).to.be.at.least(0);
    expect((await driver.outcome(stop)).server?.state).to.equal(ProcessState.STOPPED);
    expect(during[0].memoryTotal).to.equal(8e9);
    expect(fake.calls.filter(({ whileBlocked }) => whileBlocked)).to.deep.equal([]);
    expect(lines).to.be.an('array');
  });

  it('stop one server after the other', async () => {
    await setUp();
    const second = new AgentDriver(driver.agent, gateway);
    await Promise.all([driver.boot(), second.boot()]);
    const stops = [driver, second].map(each => each.run(each.request(stopWork())));
    const states = (await Promise.all(stops)).map(({ server }) => server?.state);
    expect(states).to.deep.equal([ProcessState.STOPPED, ProcessState.STOPPED]);
    expect(fake.calls.filter(({ whileBlocked }) => whileBlocked)).to.deep.equal([]);
  });

  it('let go of a stop that outlasts the patience of its watcher, and tell its end to the next', async () => {
    await setUp({ stopMs: 1_500 });
    await driver.boot();
    const kill = driver.request(KILL);
    await driver.submit(kill);
    const impatient = (async () => {
      for await (const _ of driver.watch(kill, { deadlineMs: 200 }));
    })();
    expect(await rejectionCode(impatient)).to.equal('agent-timeout');
    expect((await driver.outcome(kill)).server?.state).to.equal(ProcessState.STOPPED);
    expect(countOf('stopServer')).to.equal(1);
  });

  it('show a crash that they still list as running, and start again after it', async () => {
    await setUp();
    await driver.boot();
    follow();
    await waitFor(() => fake.readers(driver.serverId) === 1, { what: 'the stream of the console' });
    fake.crash(driver.serverId);
    await waitFor(async () => (await driver.state())?.state === ProcessState.CRASHED, {
      what: 'the crash',
    });
    const again = await driver.run(driver.startRequest());
    expect(again.server?.state).to.equal(ProcessState.RUNNING);
    expect(fake.starts(driver.serverId)).to.equal(2);
  });

  it('say plainly when the agent holds on to a crashed run', async () => {
    await setUp({ keepsCrashed: true });
    await driver.boot();
    fake.crash(driver.serverId);
    await waitFor(async () => (await driver.state())?.state === ProcessState.CRASHED, {
      what: 'the crash',
    });
    const end = await driver.run(driver.startRequest());
    expect(end.errorCode).to.equal('agent-refused');
  });

  it('tell a stop from within from a crash', async () => {
    await setUp();
    await driver.boot();
    await driver.send('stop');
    const ended = await waitFor(
      async () => {
        const seen = await driver.state();
        return seen?.state === ProcessState.STOPPED ? seen : undefined;
      },
      { what: 'the end' },
    );
    expect(ended.exitCode).to.equal(0);
  });

  it('have one reader a console, whose lines everybody gets, without the prefix of their source', async () => {
    await setUp({ readyMs: 1_000 });
    await driver.provision();
    const lines = follow();
    const start = driver.startRequest();
    await driver.submit(start);
    await waitFor(() => fake.readers(driver.serverId) > 0, { what: 'a reader' });
    await waitFor(() => fake.readers(driver.serverId) === 1, { what: 'one reader' });
    expect((await driver.outcome(start)).state).to.equal(WorkState.SUCCEEDED);
    for (let n = 0; n < SOME_LINES; n++)
      fake.print(driver.serverId, `line ${n}`, n % 2 ? 'STDERR' : 'STDOUT');
    await waitFor(() => lines.filter(line => line.startsWith('line ')).length === SOME_LINES, {
      what: 'all lines',
    });
    expect(fake.readers(driver.serverId)).to.equal(1);
  });

  it('tell of states, and count a console from where it is stored', async () => {
    await setUp();
    const server = await driver.boot();
    const from = { runId: server.runId, offset: 1_000 };
    const heard = hear(driver, { console: { [driver.serverId]: from } }, ({ changes, chunks }) => {
      return changes.length > 0 && chunks.some(({ lines }) => lines.includes('late'));
    });
    await waitFor(() => fake.readers(driver.serverId) === 1, { what: 'a reader' });
    fake.print(driver.serverId, 'late');
    const { chunks, changes } = await heard;
    expect(chunks[0]).to.include({ runId: server.runId, offset: 1_000, droppedBytes: 0 });
    expect(linesOf({ chunks, changes, journalId: '' })).to.include('late');
    expect(changes.at(-1)?.state).to.include({ state: ProcessState.RUNNING, runId: server.runId });
  });

  it('take commands, and tell when there is nobody to take them', async () => {
    await setUp();
    expect(await rejectionCode(driver.send('say hi'))).to.equal('server-not-running');
    await driver.boot();
    await driver.send('say hi');
    expect(fake.commands).to.deep.equal(['say hi']);
  });

  it('undo only the start that was meant', async () => {
    await setUp();
    const server = await driver.boot();
    await driver.run(driver.request(stopWork(`${randomUUID()}/start`)));
    expect((await state()).pid).to.equal(server.pid);
    expect((await driver.run(driver.request(stopWork(server.runId)))).server?.state).to.equal(
      ProcessState.STOPPED,
    );
  });

  it('keep the folder of a deleted server', async () => {
    await setUp();
    await driver.boot();
    const end = await driver.run(driver.request(DELETE));
    expect(end.state).to.equal(WorkState.SUCCEEDED);
    expect((await state()).state).to.equal(ProcessState.STOPPED);
    expect(fake.files.text(`${driver.serverId}/eula.txt`)).to.equal('eula=true\n');
  });

  it('know nothing of a server after their own end: it counts as stopped', async () => {
    await setUp();
    await driver.boot();
    const request = driver.request(stopWork());
    await driver.submit(request);
    await waitFor(() => countOf('stopServer') === 1, { what: 'the stop' });
    fake.die();
    await fake.restart();
    const end = await driver.outcome(request);
    expect(end.server?.state).to.equal(ProcessState.STOPPED);
  });

  function countOf(method: string): number {
    return fake.calls.filter(call => call.method === method).length;
  }
});
