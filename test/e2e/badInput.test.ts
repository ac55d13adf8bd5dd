import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { OperationView } from '#src/contracts/operation.js';
import type { ErrorCode } from '#src/domain/errors.js';
import {
  addProperties,
  registerAgent,
  startCluster,
  untilOnline,
  type Cluster,
} from '#test/harness/cluster.js';
import { textOf, type ClusterUser } from '#test/harness/clusterUser.js';
import { makeSmallDisk } from '#test/harness/faultsDisk.js';
import { serveJar, type JarFault, type JarServer } from '#test/harness/jarServer.js';
import { requireJdk } from '#test/harness/java.js';
import { buildMinecraftJar, minecraftJavaMajor, withComment } from '#test/harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import { Part, startProgram } from '#test/harness/processes.js';
import { waitFor } from '#test/harness/waitFor.js';

/** What goes wrong around a server, on real parts: each a typed problem, nothing half done, and trying again helps. */
describe('bad input', function () {
  this.timeout(120_000);
  let folder: string;
  let jar: Buffer;
  let cluster: Cluster;
  let user: ClusterUser;
  let upstreams: JarServer[];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-bad-input-'));
    jar = await readFile((await buildMinecraftJar()).path);
    cluster = await startCluster({ env: { AGENT_REACH_BUDGET: '3s' } });
    user = cluster.admin;
  });
  beforeEach(() => (upstreams = []));
  afterEach(() => Promise.all(upstreams.map(upstream => upstream.close())));
  after(async () => {
    await cluster?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** A jar that no agent has in its cache yet: the same program with another comment. */
  async function serveNewJar(): Promise<{ upstream: JarServer; jarUrl: string; jarSha256: string }> {
    const bytes = withComment(jar, `${upstreams.length} ${performance.now()}`);
    const path = join(folder, `${performance.now()}.jar`);
    await writeFile(path, bytes);
    const upstream = await serveJar(path);
    upstreams.push(upstream);
    return { upstream, jarUrl: upstream.url, jarSha256: createHash('sha256').update(bytes).digest('hex') };
  }

  /** Put in place and ready to be started. */
  async function installServer(): Promise<{ id: string; port: number }> {
    const port = await freePort();
    const { jarUrl, jarSha256 } = await serveNewJar();
    const { id, operationId } = await user.create({ jarUrl, jarSha256, port });
    expect(await user.ended(operationId)).to.include({ state: 'succeeded' });
    await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1' });
    return { id, port };
  }

  async function expectNotInstalled(id: string): Promise<void> {
    expect(await user.server(id)).to.include({ installed: false, status: 'stopped', operation_id: null });
    expect(await filesOf(join(cluster.agent.process.workDir, id))).not.to.include('server.jar');
    expect((await user.send('POST', `/servers/${id}/start`)).body).to.include({ code: 'not-installed' });
  }

  async function expectNotStarted(id: string): Promise<void> {
    expect(await user.server(id)).to.include({ status: 'error', operation_id: null });
    expect(await cluster.oracle.alive(id)).to.deep.equal([]);
  }

  async function expectInstallsNow(id: string): Promise<void> {
    expect(await user.carry(id, 'provision')).to.include({ state: 'succeeded' });
    expect(await user.server(id)).to.include({ installed: true });
    expect(await filesOf(join(cluster.agent.process.workDir, id))).to.include('server.jar');
  }

  async function expectStartsNow(id: string): Promise<void> {
    expect(await user.carry(id, 'start')).to.include({ state: 'succeeded' });
    expect(await cluster.oracle.alive(id)).to.have.length(1);
    expect(await user.carry(id, 'stop')).to.include({ state: 'succeeded' });
  }

  it('a checksum that is not the jar’s: nothing is kept of the download, and the right one installs', async () => {
    const { jarUrl, jarSha256 } = await serveNewJar();
    const wrong = 'f'.repeat(64);
    const created = await user.create({ jarUrl, jarSha256: wrong, port: await freePort() });
    expectFailure(await user.ended(created.operationId), 'checksum-mismatch');
    await expectNotInstalled(created.id);
    const cache = join(cluster.agent.process.workDir, '.aymc/cache');
    expect((await filesOf(cache)).filter(name => name.includes(wrong))).to.deep.equal([]);

    const put = await user.send('PUT', `/servers/${created.id}`, { jar_url: jarUrl, jar_sha256: jarSha256 });
    expect(put.status).to.equal(200);
    await expectInstallsNow(created.id);
  });

  const REFUSALS: [JarFault, ErrorCode][] = [
    ['error-500', 'upstream-failed'],
    ['html-page', 'upstream-not-a-jar'],
    ['flipped-byte', 'checksum-mismatch'],
  ];
  for (const [fault, code] of REFUSALS) {
    it(`an upstream that answers with ${fault}: ${code}, until it behaves`, async () => {
      const { upstream, jarUrl, jarSha256 } = await serveNewJar();
      upstream.misbehave(fault);
      const created = await user.create({ jarUrl, jarSha256, port: await freePort() });
      expectFailure(await user.ended(created.operationId), code);
      await expectNotInstalled(created.id);
      upstream.misbehave(undefined);
      await expectInstallsNow(created.id);
    });
  }

  it('an upstream that cuts every connection: what has arrived is not asked for again', async () => {
    const { upstream, jarUrl, jarSha256 } = await serveNewJar();
    upstream.misbehave('truncated');
    const created = await user.create({ jarUrl, jarSha256, port: await freePort() });
    expect(await user.ended(created.operationId)).to.include({ state: 'succeeded' });
    expect(upstream.requests.length).to.be.greaterThan(5);
    expect(upstream.bytesServed()).to.be.lessThan(jar.length * 1.5);
  });

  it('an upstream that falls silent: can be cancelled, and the next try goes on from there', async () => {
    const { upstream, jarUrl, jarSha256 } = await serveNewJar();
    upstream.misbehave('stalled', 1);
    const created = await user.create({ jarUrl, jarSha256, port: await freePort() });
    await waitFor(() => upstream.bytesServed() >= 1024 * 1024, { what: 'the download to stall' });
    const cancel = await user.send('POST', `/operations/${created.operationId}/cancel`);
    expect(cancel.status).to.equal(202);
    const cancelled = await user.ended(created.operationId);
    expect(cancelled).to.include({ state: 'cancelled' });
    expect(cancelled.error?.code).to.equal('cancelled');
    await expectNotInstalled(created.id);
    await expectInstallsNow(created.id);
    expect(upstream.requests.at(-1)?.range, 'the range that was asked for').to.match(/^bytes=[1-9]\d*-$/);
  });

  it('a Java that the agent lacks: java-missing says which there are; without the pin it starts', async () => {
    const { id } = await installServer();
    expect((await user.send('PUT', `/servers/${id}`, { java_version: 8 })).status).to.equal(200);
    const failed = await user.carry(id, 'start');
    expectFailure(failed, 'java-missing');
    expect(failed.error?.detail).to.match(/needs Java .*this agent has: .*\d/);
    await expectNotStarted(id);
    expect(await cluster.oracle.starts(id)).to.equal(0);
    expect((await user.send('PUT', `/servers/${id}`, { java_version: null })).status).to.equal(200);
    await expectStartsNow(id);
  });

  it('a port that somebody else on the host has: port-in-use, and no process is left', async () => {
    const { id, port } = await installServer();
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    try {
      expectFailure(await user.carry(id, 'start'), 'port-in-use');
      await expectNotStarted(id);
    } finally {
      squatter.close();
    }
    await expectStartsNow(id);
  });

  it('an agent that can’t be reached: fails within its budget, and nothing starts behind our back', async () => {
    const { id } = await installServer();
    await cluster.part('agent').kill();
    expectFailure(await user.carry(id, 'start'), 'agent-unreachable');
    await cluster.part('agent').restart();
    await waitFor(async () => (await user.server(id)).operation_id === null, {
      what: 'the server to be idle',
    });
    await expectNotStarted(id);
    await expectStartsNow(id);
    expect(await cluster.oracle.starts(id)).to.equal(1);
  });

  it('a full disk: disk-full and no half jar; with room it installs; what filled it can be ended', async () => {
    const disk = await makeSmallDisk(join(folder, 'disk'), { mib: 64, freeMib: 4 });
    const registration = await registerAgent(user);
    const agent = new Part('agent on a small disk', async () =>
      startProgram({
        name: 'agent',
        script: 'agent/main.ts',
        wrapper: disk.wrapper,
        cwd: folder,
        logFile: join(folder, 'agent.log'),
        ready: /"msg":"agent listening"/,
        env: {
          AGENT_ID: registration.agentId,
          AGENT_TOKEN: registration.token,
          AGENT_HOST: '127.0.0.1',
          AGENT_PORT: String(registration.port),
          AGENT_WORK_DIR: disk.path,
          AYMC_ORACLE: cluster.oracle.file,
          ALLOW_PRIVATE_URLS: '1',
          JAVA_HOME: (await requireJdk(minecraftJavaMajor)).home,
        },
      }),
    );
    await agent.start();
    try {
      await untilOnline(user, registration);
      const { jarUrl, jarSha256 } = await serveNewJar();
      const port = await freePort();
      const created = await user.create({ jarUrl, jarSha256, port, agentId: registration.id });
      expectFailure(await user.ended(created.operationId), 'disk-full');
      expect(await user.server(created.id)).to.include({ installed: false, operation_id: null });
      const root = disk.pathOf(agent.pid);
      expect(await filesOf(join(root, created.id))).not.to.include('server.jar');
      expect(await filesOf(join(root, '.aymc/cache'))).to.deep.equal([]);

      await disk.clear(agent.pid);
      expect(await user.carry(created.id, 'provision')).to.include({ state: 'succeeded' });
      expect(await user.carry(created.id, 'start')).to.include({ state: 'succeeded' });
      const newer = await serveNewJar();
      const body = { version: '1.21.11', jar_url: newer.jarUrl, jar_sha256: newer.jarSha256 };
      const { body: upgrade } = await user.send('POST', `/servers/${created.id}/upgrade`, body);
      const undone = await user.ended(textOf(upgrade, 'id'));
      expect({ state: undone.state, code: undone.error?.code }, 'no room for a copy').to.deep.equal({
        state: 'compensated',
        code: 'disk-full',
      });
      expect(await user.server(created.id)).to.include({ status: 'running' });
      await disk.fill(agent.pid);
      expect(await user.carry(created.id, 'kill')).to.include({ state: 'succeeded' });
      expect(await cluster.oracle.alive(created.id)).to.deep.equal([]);
      expect(await user.server(created.id)).to.include({ status: 'stopped' });
    } finally {
      await agent.stop();
    }
  });
});

function expectFailure(operation: OperationView, code: ErrorCode): void {
  expect({ state: operation.state, code: operation.error?.code }).to.deep.equal({ state: 'failed', code });
  expect(operation.error?.detail).to.be.a('string').and.not.equal('');
  expect(operation.finished_at).to.be.a('string');
}

async function filesOf(path: string): Promise<string[]> {
  return readdir(path).catch(() => []);
}
