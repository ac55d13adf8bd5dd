import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { buildUser, TEST_PASSWORD } from '#test/build.js';
import { FAKE_JAR_BYTES, startFakeVersion1Agent, type FakeVersion1Agent } from '#test/fakeAgent/version1.js';
import { ClusterUser, sendRequest, textOf, type Verb } from '#test/harness/clusterUser.js';
import { readCodeBlocks } from '#test/harness/docs.js';
import { connectRaw } from '#test/harness/rawSocket.js';
import { startTestStack, type TestStack } from '#test/harness/stack.js';
import { waitFor } from '#test/harness/waitFor.js';

const run = promisify(execFile);

const STOP_MS = 1_000;
/** Of the jar that the fake downloads. */
const JAR_SHA256 = createHash('sha256').update(Buffer.alloc(FAKE_JAR_BYTES)).digest('hex');

describe('a session with an agent of version 1', function () {
  this.timeout(60_000);

  let stack: TestStack;
  let fake: FakeVersion1Agent;
  let admin: ClusterUser;
  let url: string;
  let agentId: string;
  let serverId: string;

  before(async () => {
    fake = await startFakeVersion1Agent({ stopMs: STOP_MS, readyMs: 300 });
    stack = await startTestStack({ ALLOW_PRIVATE_URLS: 'true', FAILOVER_POLICY_DEFAULT: 'auto' });
    url = await stack.serve();
    const { username } = await buildUser(stack.db, { role: 'admin' });
    const { body } = await sendRequest(url, 'POST', '/auth/login', { username, password: TEST_PASSWORD });
    admin = new ClusterUser(url, textOf(body, 'access_token'));
  });

  after(async () => {
    await stack.stop();
    await fake.stop();
  });

  const read = async (path: string): Promise<unknown> => (await admin.send('GET', path)).body;
  const statusIs = (wanted: string) =>
    waitFor(async () => (await admin.server(serverId)).status === wanted, {
      what: `the server to be ${wanted}`,
    });

  async function carry(verb: Verb | 'delete'): Promise<void> {
    const { state, error } = await admin.carry(serverId, verb);
    expect(state, JSON.stringify(error)).to.equal('succeeded');
  }

  it('registers it, and shows what it cannot promise', async () => {
    const { status, body } = await admin.send('POST', '/agents', {
      agent_id: 'go-1',
      hostname: 'go-1',
      ip_address: '127.0.0.1',
      port: fake.port,
      tls_mode: 'insecure',
      work_dir: fake.workDir,
    });
    expect(status).to.equal(201);
    agentId = textOf(body, 'id');
    await waitFor(async () => textOf(await read(`/agents/${agentId}`), 'status') === 'online', {
      what: 'the agent to be online',
    });
    expect(await read(`/agents/${agentId}`)).to.deep.include({
      version: '1.0.0',
      cpu_cores: null,
      memory_total: 8e9,
      lease: null,
      capabilities: {
        can: ['version-1'],
        java_runtimes: [{ path: '/usr/bin/java', major: 21, version: '21.0.3' }],
        max_servers: 10,
        arch: null,
      },
    });
    expect(await read(`/agents/${agentId}/health`)).to.include({ healthy: true });
    expect(await read(`/agents/${agentId}/metrics`)).to.include({ cpu_percent: 7.5 });
  });

  it('creates and provisions a paper server', async () => {
    const created = await admin.create({
      jarUrl: 'http://127.0.0.1:1/paper.jar',
      jarSha256: JAR_SHA256,
      port: 25_565,
      agentId,
      extra: { server_type: 'paper', auto_restart: false },
    });
    serverId = created.id;
    const { state, error } = await admin.ended(created.operationId);
    expect(state, JSON.stringify(error)).to.equal('succeeded');
    expect((await admin.server(serverId)).installed).to.equal(true);
    expect(fake.files.text(`${serverId}/eula.txt`)).to.equal('eula=true\n');
  });

  it('starts it and streams its console', async () => {
    await carry('start');
    expect(await read(`/servers/${serverId}/status`)).to.include({ status: 'running' });
    await waitFor(() => fake.readers(serverId) === 1, { what: 'the one reader' });
    const socket = await connectRaw(url, { token: admin.token });
    socket.send({ type: 'subscribe', channels: [`server:${serverId}:logs`] });
    await waitFor(() => socket.frames.some(({ type }) => type === 'subscribed'), {
      what: 'the subscription',
    });
    await admin.send('POST', `/servers/${serverId}/command`, { command: 'say hello' });
    await waitFor(() => socket.frames.some(frame => JSON.stringify(frame).includes('[Server] hello')), {
      what: 'the line on the socket',
    });
    socket.socket.close();
    const rows = JSON.stringify(await read(`/servers/${serverId}/logs?q=hello`));
    expect(rows.split('[Server] hello').length - 1, 'stored once').to.equal(1);
    expect(fake.commands).to.deep.equal(['say hello']);
  });

  it('lists, writes and reads its files', async () => {
    const path = `/servers/${serverId}/files/content?path=notes.txt`;
    const put = await fetch(`${url}/api/v1${path}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${admin.token}`, 'content-type': 'text/plain' },
      body: 'hello',
    });
    expect(put.status).to.be.oneOf([200, 201, 204]);
    expect(fake.files.text(`${serverId}/notes.txt`)).to.equal('hello');
    const got = await fetch(`${url}/api/v1${path}`, { headers: { authorization: `Bearer ${admin.token}` } });
    expect(await got.text()).to.equal('hello');
    const listed = JSON.stringify(await read(`/servers/${serverId}/files?path=`));
    expect(listed).to.include('notes.txt').and.include('server.properties');
    const removal = await admin.send('DELETE', `/servers/${serverId}/files?path=notes.txt`);
    expect(removal.status).to.equal(501);
    expect(textOf(removal.body, 'code')).to.equal('agent-unsupported');
  });

  it('recognises a crash, and starts again', async () => {
    fake.crash(serverId);
    await statusIs('error');
    await carry('start');
    expect(fake.starts(serverId)).to.equal(2);
  });

  it('undoes a start of which nobody knows what has become, and never repeats it', async () => {
    await carry('stop');
    const starts = () => fake.calls.filter(({ method }) => method === 'startServer').length;
    const before = starts();
    fake.lose('startServer', 'before');
    const { state, error } = await admin.carry(serverId, 'start');
    expect([state, error?.code]).to.deep.equal(['compensated', 'outcome-unknown']);
    expect(starts() - before).to.equal(1);
    expect((await admin.server(serverId)).status).to.equal('stopped');
    await carry('start');
  });

  it('restarts it by a stop and a start', async () => {
    await carry('restart');
    expect(fake.starts(serverId)).to.equal(4);
    expect(fake.calls.some(({ method }) => method === 'restartServer')).to.equal(false);
  });

  it('goes on with another worker', async () => {
    await stack.restartWorker();
    url = await stack.serve();
    admin = new ClusterUser(url, admin.token);
    await waitFor(() => fake.readers(serverId) === 1, { what: 'the new reader' });
    await carry('stop');
    await carry('start');
    await carry('kill');
    expect((await admin.server(serverId)).status).to.equal('stopped');
  });

  it('deletes it, and has sent nothing while it stopped, and never ended the agent', async () => {
    await carry('start');
    await carry('delete');
    expect((await admin.send('GET', `/servers/${serverId}`)).status).to.equal(404);
    expect(fake.calls.filter(({ whileBlocked }) => whileBlocked).map(({ method }) => method)).to.deep.equal(
      [],
    );
    expect(fake.isUp()).to.equal(true);
  });

  it('is written down in docs/operating.md, line by line', async () => {
    const second = await startFakeVersion1Agent({ stopMs: STOP_MS });
    try {
      const blocks = await readCodeBlocks('docs/operating.md', '## A session with an agent of version 1');
      const env = {
        PATH: process.env['PATH'] ?? '',
        API: `${url}/api/v1`,
        TOKEN: admin.token,
        AGENT_IP: '127.0.0.1',
        AGENT_PORT: String(second.port),
        WORK_DIR: second.workDir,
        JAR_URL: 'http://127.0.0.1:1/paper.jar',
        JAR_SHA256,
      };
      const script = blocks
        .map(({ code }) => code)
        .join('\n')
        .replaceAll('"go-1"', '"go-2"');
      const { stdout } = await run('bash', ['--norc', '-euc', script], { env, timeout: 30_000 });
      const [kind, provisioned, started, accepted, said, rules, ...ends] = stdout.split('\n');
      expect([kind, provisioned, started]).to.deep.equal(['version-1', 'succeeded', 'succeeded']);
      expect(said).to.include('hello');
      expect([accepted, rules, ...ends]).to.deep.equal(['true', 'be nicesucceeded', 'succeeded', '']);
      expect(second.calls.filter(({ whileBlocked }) => whileBlocked)).to.deep.equal([]);
    } finally {
      await second.stop();
    }
  });
});
