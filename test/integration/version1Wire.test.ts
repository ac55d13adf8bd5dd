import { randomUUID } from 'node:crypto';
import { connect, type ConnectionOptions } from 'node:tls';
import { credentials, Client, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { AgentServiceService, ProcessState, type LogEntry } from '#proto/gen/agent.js';
import type { Calls } from '#src/agents/calls.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import type { AgentDriver } from '#test/contract/agentDriver.js';
import type { FakeVersion1Agent, FakeVersion1Options } from '#test/fakeAgent/version1.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { startVersion1, type Version1Setting } from '#test/harness/version1.js';
import { waitFor } from '#test/harness/waitFor.js';

const SOME_LINES = 40;
const rpc = AgentServiceService;

describe('agents of version 1, on the wire', function () {
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

  const wireCall = () => ({ agent: fake.address, options: {} });

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

  it('know all of version 1, and nothing of version 2', async () => {
    await setUp();
    const { host, port } = fake.address;
    const insecure = credentials.createSsl(null, null, null, { rejectUnauthorized: false });
    const client = new Client(`${host}:${port}`, insecure, { 'grpc.ssl_target_name_override': 'localhost' });
    setting.beforeEnd(() => client.close());
    const first = Object.keys(rpc).indexOf('hello');
    const [version1, version2] = [Object.values(rpc).slice(0, first), Object.values(rpc).slice(first)];
    expect([version1.length, version2.length > 10]).to.deep.equal([23, true]);
    // An empty request is a start without config, which ends it.
    for (const { path } of version1.filter(method => method !== rpc.startServer))
      expect(await statusOf(client, path), path).not.to.equal(status.UNIMPLEMENTED);
    const codes = new Set<number>();
    for (const { path } of version2) codes.add(await statusOf(client, path));
    expect([...codes]).to.deep.equal([status.UNIMPLEMENTED]);
  });

  it('answer nothing while they stop a server, no new stream either', async () => {
    await setUp({ stopMs: 300 });
    await driver.boot();
    const { serverId } = driver;
    const calls = setting.wire();
    const stopping = calls.unary({ ...wireCall(), method: rpc.stopServer, request: { serverId } });
    await waitFor(() => fake.calls.some(({ method }) => method === 'stopServer'), { what: 'the stop' });
    const began = performance.now();
    const console: AsyncIterable<LogEntry> = calls.stream({
      ...wireCall(),
      method: rpc.streamLogs,
      request: { serverId },
    });
    const pinged = calls.unary({ ...wireCall(), method: rpc.ping, request: {} });
    expect(await rejectionCode(console[Symbol.asyncIterator]().next())).to.equal('not-found');
    await pinged;
    expect(performance.now() - began).to.be.greaterThan(150);
    expect((await stopping).success).to.equal(true);
  });

  it('have plugins by the names of their files, and stop a server that they are to restart', async () => {
    await setUp();
    await driver.boot();
    const { serverId } = driver;
    const calls = setting.wire();
    const named = { serverId, pluginName: 'Essentials', fileName: 'Essentials-2.20.jar' };
    const install = {
      ...named,
      downloadUrl: 'http://127.0.0.1:1/e.jar',
      version: '2.20',
      autoRestart: false,
    };
    const send = (request: typeof install) =>
      calls.unary({ ...wireCall(), method: rpc.installPlugin, request });
    expect(await send({ ...install, downloadUrl: '' })).to.include({ success: false, plugin: undefined });
    expect((await send(install)).plugin).to.include({ name: 'Essentials-2.20', enabled: true });
    fake.files.put(`${serverId}/plugins/Off.jar.disabled`, Buffer.from('off'));
    const list = async (includeDisabled: boolean) => {
      const request = { serverId, includeDisabled };
      const { plugins } = await calls.unary({ ...wireCall(), method: rpc.listPlugins, request });
      return plugins.map(({ fileName }) => fileName);
    };
    expect(await list(false)).to.deep.equal(['Essentials-2.20.jar']);
    expect(await list(true)).to.deep.equal(['Essentials-2.20.jar', 'Off.jar.disabled']);
    const removal = {
      serverId,
      pluginName: 'Unknown',
      deleteConfig: false,
      deleteData: false,
      autoRestart: false,
    };
    const unknown = await calls.unary({ ...wireCall(), method: rpc.uninstallPlugin, request: removal });
    expect(unknown.success).to.equal(false);
    await send({ ...install, autoRestart: true });
    expect((await driver.state())?.state).to.equal(ProcessState.STOPPED);
  });

  it('answer OK with success false to what they refuse, and die of a start without config', async () => {
    await setUp();
    const calls = setting.wire();
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
      (await setting.wire().unary({ ...wireCall(), method: rpc.listServers, request: {} })).servers,
    ).to.deep.equal([]);
  });

  it('end a restart stopped, and make no backups', async () => {
    await setUp();
    await driver.boot();
    const calls = setting.wire();
    const { serverId } = driver;
    const restart = await calls.unary({ ...wireCall(), method: rpc.restartServer, request: { serverId } });
    expect(restart.success).to.equal(false);
    expect((await driver.state())?.state).to.equal(ProcessState.STOPPED);
    const request = rpc.createBackup.requestDeserialize(Buffer.alloc(0));
    expect((await calls.unary({ ...wireCall(), method: rpc.createBackup, request })).success).to.equal(false);
    const restore = rpc.restoreBackup.requestDeserialize(Buffer.alloc(0));
    expect(
      (await calls.unary({ ...wireCall(), method: rpc.restoreBackup, request: restore })).success,
    ).to.equal(false);
  });

  it('give each of two readers a part of the lines', async () => {
    await setUp();
    await driver.boot();
    const calls = setting.wire();
    const read = [readLines(calls), readLines(calls)];
    await waitFor(() => fake.readers(driver.serverId) === 2, { what: 'two readers' });
    for (let n = 0; n < SOME_LINES; n++) fake.print(driver.serverId, `line ${n}`);
    await waitFor(() => read.flat().filter(line => line.startsWith('[STDOUT] line ')).length === SOME_LINES, {
      what: 'all lines',
    });
    for (const lines of read)
      expect(lines.length)
        .to.be.within(1, SOME_LINES + 5)
        .and.be.lessThan(SOME_LINES);
  });

  it('give whole files whatever part is asked for, from a path of the host or of their own folder', async () => {
    await setUp();
    const calls = setting.wire();
    fake.files.put('notes.txt', Buffer.from('0123456789'));
    for (const path of ['notes.txt', `${fake.workDir}/notes.txt`]) {
      const request = { path, offset: 4, length: 2 };
      const { content } = await calls.unary({ ...wireCall(), method: rpc.readFile, request });
      expect(Buffer.from(content).toString()).to.equal('0123456789');
    }
    fake.files.put('big.bin', Buffer.alloc(10 * 1024 * 1024 + 1));
    const big = { path: 'big.bin', offset: 0, length: 1 };
    expect(await rejectionCode(calls.unary({ ...wireCall(), method: rpc.readFile, request: big }))).to.equal(
      'agent-failed',
    );
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
