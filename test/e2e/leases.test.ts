import { expect } from 'chai';
import { rows, row } from '#src/db/sql.js';
import type { OperationRow, ServerRow } from '#src/db/types.js';
import { freePort } from '#processes/dev/ports.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { waitFor } from '#test/harness/waitFor.js';

const TTL_S = 5;

describe('a server under a lease', function () {
  this.timeout(180_000);
  let upstream: JarServer;
  let cluster: Cluster;
  let serverId: string;

  before(async function () {
    this.timeout(15 * 60_000);
    const jar = await buildMinecraftJar();
    upstream = await serveJar(jar.path);
    cluster = await startCluster({ split: true, env: { LEASE_TTL: `${TTL_S}s`, LEASE_RENEW: '1s' } });
    const { id, operationId } = await cluster.admin.create({
      jarUrl: upstream.url,
      jarSha256: jar.sha256,
      port: await freePort(),
      extra: { failover_policy: 'auto' },
    });
    await cluster.admin.ended(operationId);
    await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1' });
    serverId = id;
    expect(await cluster.admin.carry(id, 'start')).to.include({ state: 'succeeded' });
  });
  after(async () => {
    await cluster?.stop();
    await upstream?.close();
  });

  async function server(): Promise<ServerRow> {
    const found = await row<ServerRow>(cluster.db, 'SELECT * FROM servers WHERE id = $1', {
      bind: [serverId],
    });
    if (!found) throw new Error('the server has no row');
    return found;
  }
  const untilIdle = (status: ServerRow['status']): Promise<ServerRow> =>
    waitFor(
      async () => {
        const now = await server();
        return now.status === status && now.current_op_id === null ? now : null;
      },
      { timeoutMs: 90_000, what: `the server to be ${status}` },
    ).catch(async (cause: unknown) => {
      throw new Error(`${String(cause)}\n${await cluster.logTails()}`, { cause });
    });

  it('plays on without a worker: an api and Postgres are enough to renew', async () => {
    await cluster.part('worker').kill();
    const granted = await leaseSeqOf(cluster);
    const until = performance.now() + 2 * TTL_S * 1000;
    await waitFor(() => performance.now() > until, { timeoutMs: 30_000, what: 'two leases to pass' });
    expect(await leaseSeqOf(cluster)).to.be.at.least(granted + TTL_S);
    await cluster.part('worker').restart();
    expect(await untilIdle('running')).to.include({ crash_count: 0 });
    expect(await operationsOf(cluster, serverId)).to.deep.equal(['provision user', 'start user']);
  });

  it('is stopped while no api can be reached, and started again by itself when one can', async () => {
    await cluster.part('api').kill();
    expect(await untilIdle('stopped')).to.include({ desired_state: 'running', crash_count: 0 });
    await cluster.part('api').restart();
    expect(await untilIdle('running')).to.include({ desired_state: 'running', crash_count: 0 });
    expect(await operationsOf(cluster, serverId)).to.deep.equal([
      'provision user',
      'start user',
      'stop reconcile',
      'start reconcile',
    ]);
  });
});

async function leaseSeqOf({ db, agent }: Cluster): Promise<number> {
  const found = await row<{ lease_seq: number }>(db, 'SELECT lease_seq FROM agents WHERE id = $1', {
    bind: [agent.id],
  });
  return found?.lease_seq ?? 0;
}

/** `start user`: kind and trigger of what was asked, in order; all of it must have succeeded. */
async function operationsOf({ db }: Cluster, serverId: string): Promise<string[]> {
  const found = await rows<OperationRow>(
    db,
    'SELECT * FROM operations WHERE server_id = $1 ORDER BY op_seq',
    {
      bind: [serverId],
    },
  );
  return found.map(({ kind, trigger, state }) =>
    [kind.replace('server.', ''), trigger, ...(state === 'succeeded' ? [] : [state])].join(' '),
  );
}
