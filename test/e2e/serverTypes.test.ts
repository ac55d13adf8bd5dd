import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import type { ClusterUser } from '#test/harness/clusterUser.js';
import { buildMinecraftJar, type MinecraftJar } from '#test/harness/minecraftJar.js';
import { waitFor } from '#test/harness/waitFor.js';
import { startUpstreams, type LocalUpstreams } from '#test/upstreams/upstreams.js';

/** Servers of a type and a version and nothing else: the control plane finds out where to get them. */
describe('a server of a type and a version', function () {
  this.timeout(120_000);
  let jar: MinecraftJar;
  let upstreams: LocalUpstreams;
  let cluster: Cluster;
  let admin: ClusterUser;

  before(async function () {
    this.timeout(15 * 60_000);
    jar = await buildMinecraftJar();
    upstreams = await startUpstreams(await readFile(jar.path));
    cluster = await startCluster({ env: upstreams.env });
    ({ admin } = cluster);
  });
  after(async () => {
    await cluster?.stop();
    await upstreams?.close();
  });

  const create = (server_type: string, version: string, port: number) =>
    admin.create({
      jarUrl: '',
      jarSha256: '',
      port,
      extra: { server_type, version, jar_url: null, jar_sha256: null },
    });
  const succeeded = { state: 'succeeded', error: null };

  for (const type of ['vanilla', 'paper'] as const) {
    it(`is installed from the upstream of ${type}, checked, and started`, async () => {
      const { id, operationId } = await create(type, '1.21.4', await freePort());
      expect(await admin.ended(operationId)).to.include(succeeded);
      await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1' });
      const installed = await readFile(join(cluster.agent.process.workDir, id, 'server.jar'));
      expect(createHash('sha256').update(installed).digest('hex')).to.equal(jar.sha256);

      expect(await admin.carry(id, 'start')).to.include(succeeded);
      expect(await cluster.oracle.alive(id)).to.have.length(1);
      expect(await admin.carry(id, 'stop')).to.include(succeeded);
    });
  }

  it('is not installed where there is no such version, and is as soon as it is given another', async () => {
    const { id, operationId } = await create('paper', '1.99.9', await freePort());
    const failed = await admin.ended(operationId);
    expect(failed).to.include({ state: 'failed' });
    expect(failed.error).to.include({ code: 'artifact-unknown' });
    expect((await admin.send('GET', `/servers/${id}`)).body).to.include({ installed: false });
    expect((await admin.send('PUT', `/servers/${id}`, { version: '1.21.4' })).status).to.equal(200);
    expect(await admin.carry(id, 'provision')).to.include(succeeded);
  });

  it('is installed when its upstream has come back from an outage', async () => {
    upstreams.of.vanilla.misbehave('error-500');
    const before = upstreams.of.vanilla.requests.length;
    const { operationId } = await create('vanilla', '1.21.4', await freePort());
    try {
      await waitFor(() => upstreams.of.vanilla.requests.length >= before + 2, {
        what: 'a second attempt',
      });
    } finally {
      upstreams.of.vanilla.misbehave(undefined);
    }
    expect(await admin.ended(operationId)).to.include(succeeded);
  });
});
