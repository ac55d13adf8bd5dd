import { randomUUID } from 'node:crypto';
import { connect, type ConnectionOptions } from 'node:tls';
import { credentials, Client, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import pino from 'pino';
import {
  AgentServiceService,
  ProcessState,
  WorkState,
  type LogEntry,
  type ServerState,
  type WorkRequest,
  type WorkStatus,
} from '#proto/gen/agent.js';
import { createCalls, type Calls } from '#src/agents/calls.js';
import { createChannelPool } from '#src/agents/channelPool.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver, DELETE, KILL, hear, keyOf, linesOf, stopWork } from '#test/contract/agentDriver.js';
import { FAKE_START } from '#test/contract/fakeContractAgent.js';
import {
  FAKE_JAR_BYTES,
  startFakeVersion1Agent,
  type FakeVersion1Agent,
  type FakeVersion1Options,
} from '#test/fakeAgent/version1.js';
import { jarArtifact, provisionWork } from '#test/harness/provisionWork.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { waitFor } from '#test/harness/waitFor.js';

const STOP_MS = 200;
const SETTINGS = { port: 25570, maxPlayers: 7, eulaAccepted: true };
const SOME_LINES = 40;
const rpc = AgentServiceService;

describe('agents of version 1', function () {
  this.timeout(20_000);

  let fake: FakeVersion1Agent;
  let gateway: AgentGateway;
  let driver: AgentDriver;
  const releases: (() => void | Promise<void>)[] = [];

  async function setUp(options: FakeVersion1Options = {}): Promise<void> {
    fake = await startFakeVersion1Agent({ stopMs: STOP_MS, ...options });
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 5_000 });
    const agent = fake;
    driver = new AgentDriver(
      {
        get address() {
          return agent.address;
        },
        provision: () => provisionOf('paper'),
        start: () => ({ ...FAKE_START, settings: SETTINGS, serverType: 'paper' }),
        crash: ({ serverId }) => agent.crash(serverId),
        freeze: () => undefined,
        thaw: () => undefined,
        restart: () => agent.restart(),
        stop: () => agent.stop(),
      },
      gateway,
    );
  }

  afterEach(async () => {
    for (const release of releases.splice(0)) await release();
    await gateway.close();
    await fake.stop();
  });

  /** The wire itself, without what the gateway makes of it. */
  function wire(): Calls {
    const pool = createChannelPool({ logger: pino({ level: 'silent' }), maxChannels: 10 });
    const calls = createCalls({ pool, defaultDeadlineMs: 5_000 });
    releases.push(() => {
      calls.abortAll();
      pool.close();
    });
    return calls;
  }

  const wireCall = () => ({ agent: fake.address, options: {} });

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
    releases.push(async () => {
      ending.abort();
      await following;
    });
    return lines;
  }

  describe('on the wire', () => {
    it('speak TLS 1.3 alone, with a certificate of this start, for localhost, and ask for no token', async () => {
      await setUp();
      const first = fake.fingerprint;
      const peer = await handshake(fake.port, {});
      expect(peer).to.deep.equal({ protocol: 'TLSv1.3', names: 'DNS:localhost' });
      expect(await handshake(fake.port, { maxVersion: 'TLSv1.2' })).to.equal(undefined);
      await fake.restart();
      expect(fake.fingerprint).to.not.equal(first);
      expect((await gateway.ping(fake.address)).latencyMs).to.be.greaterThan(0);
    });

    it('are reached with a pin, and not once they have another certificate', async () => {
      await setUp();
      const pinned = { ...fake.address, tls_mode: 'pinned' as const, tls_fingerprint: fake.fingerprint };
      await gateway.ping(pinned);
      await fake.restart();
      await waitFor(async () => (await rejectionCode(gateway.ping(pinned))) === 'agent-tls', {
        what: 'the refusal of another certificate',
      });
    });

    it('know nothing of version 2', async () => {
      await setUp();
      const { host, port } = fake.address;
      const insecure = credentials.createSsl(null, null, null, { rejectUnauthorized: false });
      const client = new Client(`${host}:${port}`, insecure);
      releases.push(() => client.close());
      const codes = new Set<number>();
      const version2 = Object.values(rpc).slice(Object.keys(rpc).indexOf('hello'));
      expect(version2).to.have.length.greaterThan(10);
      for (const { path } of version2) codes.add(await statusOf(client, path));
      expect([...codes]).to.deep.equal([status.UNIMPLEMENTED]);
    });

    it('answer OK with success false to what they refuse, and die of a start without config', async () => {
      await setUp();
      const calls = wire();
      const { serverId } = driver;
      const config = {
        minRam: '1M',
        maxRam: '1M',
        javaArgs: [],
        jarFile: 'server.jar',
        autoRestart: false,
        customArgs: {},
      };
      const request = { serverId, name: 'x', type: 'paper', version: '', config };
      const start = { ...wireCall(), method: rpc.startServer, request };
      expect((await calls.unary(start)).success).to.equal(true);
      const refused = await calls.unary(start);
      expect(refused).to.include({ success: false, message: `server ${serverId} is already running` });
      const bare = { ...start, request: { ...request, serverId: randomUUID(), config: undefined } };
      await rejectionCode(calls.unary(bare));
      expect(fake.isUp()).to.equal(false);
      await fake.restart();
      expect(
        (await wire().unary({ ...wireCall(), method: rpc.listServers, request: {} })).servers,
      ).to.deep.equal([]);
    });

    it('end a restart stopped, and make no backups', async () => {
      await setUp();
      await driver.boot();
      const calls = wire();
      const { serverId } = driver;
      const restart = await calls.unary({ ...wireCall(), method: rpc.restartServer, request: { serverId } });
      expect(restart.success).to.equal(false);
      expect((await state()).state).to.equal(ProcessState.STOPPED);
      const request = rpc.createBackup.requestDeserialize(Buffer.alloc(0));
      expect((await calls.unary({ ...wireCall(), method: rpc.createBackup, request })).success).to.equal(
        false,
      );
      const restore = rpc.restoreBackup.requestDeserialize(Buffer.alloc(0));
      expect(
        (await calls.unary({ ...wireCall(), method: rpc.restoreBackup, request: restore })).success,
      ).to.equal(false);
    });

    it('give each of two readers a part of the lines', async () => {
      await setUp();
      await driver.boot();
      const calls = wire();
      const read = [readLines(calls), readLines(calls)];
      await waitFor(() => fake.readers(driver.serverId) === 2, { what: 'two readers' });
      for (let n = 0; n < SOME_LINES; n++) fake.print(driver.serverId, `line ${n}`);
      await waitFor(
        () => read.flat().filter(line => line.startsWith('[STDOUT] line ')).length === SOME_LINES,
        {
          what: 'all lines',
        },
      );
      for (const lines of read)
        expect(lines.length)
          .to.be.within(1, SOME_LINES + 5)
          .and.be.lessThan(SOME_LINES);
    });

    it('give whole files whatever part is asked for, from a path of the host or of their own folder', async () => {
      await setUp();
      const calls = wire();
      fake.files.put('notes.txt', Buffer.from('0123456789'));
      for (const path of ['notes.txt', `${fake.workDir}/notes.txt`]) {
        const request = { path, offset: 4, length: 2 };
        const { content } = await calls.unary({ ...wireCall(), method: rpc.readFile, request });
        expect(Buffer.from(content).toString()).to.equal('0123456789');
      }
      fake.files.put('big.bin', Buffer.alloc(10 * 1024 * 1024 + 1));
      const big = { path: 'big.bin', offset: 0, length: 1 };
      expect(
        await rejectionCode(calls.unary({ ...wireCall(), method: rpc.readFile, request: big })),
      ).to.equal('agent-failed');
    });

    function readLines(calls: Calls): string[] {
      const lines: string[] = [];
      const request = { serverId: driver.serverId };
      const stream: AsyncIterable<LogEntry> = calls.stream({
        ...wireCall(),
        method: rpc.streamLogs,
        request,
        endless: true,
      });
      void (async () => {
        for await (const { message } of stream) lines.push(message);
      })().catch(() => undefined);
      return lines;
    }
  });

  describe('through the gateway', () => {
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
      fake.loseNextStart();
      const start = driver.startRequest();
      expect((await driver.run(start)).state).to.equal(WorkState.SUCCEEDED);
      const other = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 5_000 });
      releases.push(() => other.close());
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
      const calls = wire();
      const request = { serverId: driver.serverId };
      const { config } = await calls.unary({ ...wireCall(), method: rpc.getServer, request });
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
      const request: WorkRequest = driver.request(stopWork());
      await driver.submit(request);
      await waitFor(() => countOf('stopServer') === 1, { what: 'the stop' });
      fake.die();
      await fake.restart();
      const end = await driver.outcome(request);
      expect(end.server?.state).to.equal(ProcessState.STOPPED);
    });
  });

  function countOf(method: string): number {
    return fake.calls.filter(call => call.method === method).length;
  }
});

function provisionOf(serverType: string, known: Parameters<typeof jarArtifact>[0] = {}) {
  return { ...provisionWork(jarArtifact(known), SETTINGS), serverType };
}

/** Undefined when they don't come to terms. */
function handshake(
  port: number,
  options: ConnectionOptions,
): Promise<{ protocol: string | null; names: string | undefined } | undefined> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () => {
      resolve({ protocol: socket.getProtocol(), names: socket.getPeerX509Certificate()?.subjectAltName });
      socket.destroy();
    });
    socket.on('error', () => resolve(undefined));
  });
}

function statusOf(client: Client, path: string): Promise<number> {
  const nothing = () => Buffer.alloc(0);
  return new Promise(resolve => {
    client.makeUnaryRequest(path, nothing, nothing, {}, error => resolve(error?.code ?? status.OK));
  });
}
