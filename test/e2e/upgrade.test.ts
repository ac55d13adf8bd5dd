import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { SHARED_CLASSES, textOf, type ClusterUser } from '#test/harness/clusterUser.js';
import { tinyJar } from '#test/harness/fakeJava.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { installMinecraftClient, joinServer } from '#test/harness/minecraftClient.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { waitFor } from '#test/harness/waitFor.js';
import { startUpstreams, type LocalUpstreams } from '#test/upstreams/upstreams.js';

/** Over the API, on a real server with a real player's world. The parts are killed on the way. */
describe('an upgrade of a server that is played on', function () {
  this.timeout(120_000);
  let folder: string;
  let upstreams: LocalUpstreams;
  let broken: JarServer;
  let brokenSha256: string;
  let cluster: Cluster;
  let admin: ClusterUser;
  let id: string;
  let port: number;

  before(async function () {
    this.timeout(15 * 60_000);
    const [jar] = await Promise.all([buildMinecraftJar(), installMinecraftClient()]);
    folder = await mkdtemp(join(tmpdir(), 'aymc-upgrade-'));
    const bytes = tinyJar('no server at all');
    await writeFile(join(folder, 'broken.jar'), bytes);
    brokenSha256 = createHash('sha256').update(bytes).digest('hex');
    [upstreams, broken] = await Promise.all([
      startUpstreams(await readFile(jar.path)),
      serveJar(join(folder, 'broken.jar'), { slowBytesPerSecond: 20 }),
    ]);
    cluster = await startCluster({ env: upstreams.env, split: true });
    ({ admin } = cluster);

    port = await freePort();
    const extra = { version: '1.21.4', jar_url: null, jar_sha256: null, ...SHARED_CLASSES };
    const created = await admin.create({ jarUrl: '', jarSha256: '', port, extra });
    ({ id } = created);
    expect(await admin.ended(created.operationId)).to.include(succeeded);
    await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1' });
    expect(await admin.carry(id, 'start')).to.include(succeeded);
    await play('steve');
  });
  after(async () => {
    await cluster?.stop();
    await upstreams?.close();
    await broken?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const succeeded = { state: 'succeeded', error: null };
  const upgrade = async (body: Record<string, unknown>): Promise<string> => {
    const { body: operation, status } = await admin.persist('POST', `/servers/${id}/upgrade`, body);
    expect(status, JSON.stringify(operation)).to.equal(202);
    return textOf(operation, 'id');
  };
  const server = async () => (await admin.send('GET', `/servers/${id}`)).body;

  async function play(username: string): Promise<void> {
    const player = await joinServer({ port, username });
    await player.quit();
  }

  /** Those that the world knows. */
  const players = () => readdir(join(cluster.agent.process.workDir, id, 'world/playerdata'));

  async function expectOneCopy(): Promise<void> {
    expect(await cluster.oracle.alive(id)).to.have.length(1);
    expect(await cluster.oracle.overlaps(id)).to.deep.equal([]);
  }

  it('gives it another type and back, and the player’s world stays', async () => {
    expect(await admin.ended(await upgrade({ server_type: 'paper', version: '1.21.4' }))).to.include(
      succeeded,
    );
    expect(await server()).to.include({ server_type: 'paper', version: '1.21.4', status: 'running' });
    await play('alex');
    expect(await admin.ended(await upgrade({ server_type: 'vanilla', version: '1.21.4' }))).to.include(
      succeeded,
    );
    expect(await server()).to.include({ server_type: 'vanilla', version: '1.21.4', status: 'running' });
    expect(await players()).to.have.length(2);
    await play('steve');
    await expectOneCopy();
  });

  it('to what is no server is taken back, although agent and worker die on the way', async () => {
    broken.misbehave('slow', 1);
    const operation = await upgrade({ version: '1.99', jar_url: broken.url, jar_sha256: brokenSha256 });
    await waitFor(() => broken.bytesServed() > 0, { what: 'the download' });
    await Promise.all([cluster.part('agent').kill(), cluster.part('worker').kill()]);
    await play('herobrine');
    await Promise.all([cluster.part('agent').restart(), cluster.part('worker').restart()]);
    const ended = await admin.ended(operation, 90_000);
    expect(ended).to.include({ state: 'compensated' });
    expect(ended.error?.code).to.equal('start-failed');
    expect(await server()).to.include({
      server_type: 'vanilla',
      version: '1.21.4',
      jar_url: null,
      status: 'running',
    });
    expect(await players()).to.have.length(3);
    await play('steve');
    await expectOneCopy();
  });

  it('is refused where it changes nothing, contradicts itself, or nothing is installed', async () => {
    const refusal = async (body: Record<string, unknown>) => {
      const { body: problem, status } = await admin.send('POST', `/servers/${id}/upgrade`, body);
      return `${status} ${textOf(problem, 'code')}`;
    };
    expect(await refusal({ version: '1.21.4' })).to.equal('400 invalid-request');
    expect(await refusal({ version: '1.21.11', type: 'paper', server_type: 'purpur' })).to.equal(
      '400 invalid-request',
    );
    expect(await refusal({ version: '1.21.11', jar_url: broken.url })).to.equal('400 invalid-request');
    expect(await refusal({ server_type: 'bedrock', version: '1.21.11' })).to.equal('400 invalid-request');
    const unknown = await admin.ended(await upgrade({ server_type: 'paper', version: '1.99.9' }));
    expect(unknown).to.include({ state: 'failed' });
    expect(unknown.error).to.include({ code: 'artifact-unknown' });
    await expectOneCopy();
  });
});
