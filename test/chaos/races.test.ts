import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { expect } from 'chai';
import { rows } from '#src/db/sql.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { SHARED_CLASSES, type ClusterUser } from '#test/harness/clusterUser.js';
import { installTraps, setTrap, untilHeld } from '#test/harness/faults.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { buildMinecraftJar, type MinecraftJar } from '#test/harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import { waitFor } from '#test/harness/waitFor.js';
import { createRandom } from './random.js';
import { tableOf } from './table.js';

const SEED = Number(process.env['AYMC_CHAOS_SEED'] ?? 4711);
/** Long enough for a worker to start, to be struck, and for another one to take over. */
const SLOW_BOOT_MS = 20_000;
/** An operation whose worker is gone goes on within this time. */
const RESUMED_WITHIN_S = 15;
/** Longer than the heartbeat of every step of a start. */
const FROZEN_MS = 20_000;
const ROUNDS = 20;
const TRACKS = 4;

describe('operations that meet each other, and workers that come and go', function () {
  this.timeout(180_000);
  let jar: MinecraftJar;
  let upstream: JarServer;
  let cluster: Cluster;
  let user: ClusterUser;
  let temporal: Client;
  const figures: string[][] = [];

  before(async () => {
    jar = await buildMinecraftJar();
    upstream = await serveJar(jar.path);
    cluster = await startCluster({ split: true, spareWorker: true });
    await installTraps(cluster.databaseUrl);
    user = cluster.admin;
    const { address, namespace } = cluster.temporal;
    temporal = new Client({ connection: await Connection.connect({ address }), namespace });
  });
  afterEach('leave one worker to the next test', async () => {
    const worker = cluster.part('worker');
    await cluster.part('worker-2').kill();
    if (worker.isUp) worker.thaw();
    else await worker.restart();
  });
  after(async () => {
    await temporal?.connection.close();
    await cluster?.stop();
    await upstream?.close();
    process.stdout.write(`\n${tableOf(['figure', 'seconds'], figures)}\n`);
  });

  async function installServer(bootMs = 0): Promise<string> {
    const port = await freePort();
    const server = { jarUrl: upstream.url, jarSha256: jar.sha256, port, extra: SHARED_CLASSES };
    const { id, operationId } = await user.create(server);
    expect(await user.ended(operationId)).to.include({ state: 'succeeded' });
    await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1', 'start-delay-ms': bootMs });
    return id;
  }

  /** A start that the worker has brought as far as the boot of the JVM, and that will stay there for a while. */
  async function startSlowly(): Promise<{ server: string; start: string }> {
    const server = await installServer(SLOW_BOOT_MS);
    const trap = await setTrap(cluster.databaseUrl, server, 'booting');
    const { id } = await user.act(server, 'start');
    await trap.sprung;
    await trap.release();
    return { server, start: id };
  }

  /** Seconds until another attempt at the operation's step has begun. */
  async function secondsToResume(operationId: string, since: number): Promise<number> {
    const workflow = temporal.workflow.getHandle(`op:${operationId}`);
    await waitFor(
      async () => {
        const { raw } = await workflow.describe();
        return raw.pendingActivities?.some(({ attempt }) => (attempt ?? 0) > 1);
      },
      { timeoutMs: 60_000, everyMs: 100, what: 'another attempt' },
    );
    return (performance.now() - since) / 1000;
  }

  async function expectOneProcess(server: string, starts = 1): Promise<void> {
    expect(await cluster.oracle.overlaps(server)).to.deep.equal([]);
    expect(await cluster.oracle.alive(server)).to.have.length(1);
    expect(await cluster.oracle.starts(server)).to.equal(starts);
  }

  async function expectEvents(operationId: string, types: string[]): Promise<void> {
    const events = await user.events(operationId);
    expect(events.map(({ seq }) => seq)).to.deep.equal(events.map((_, at) => at + 1));
    expect(
      events.filter(({ type }) => type !== 'progressed').map(({ type, data }) => data.status ?? type),
    ).to.deep.equal(types);
  }

  const STARTED = ['accepted', 'started', 'starting', 'running', 'succeeded'];

  it('fifty times the same request in parallel is one operation with a key, and one process without', async () => {
    const server = await installServer();
    const key = randomUUID();
    const keyed = await Promise.all(Array.from({ length: 50 }, () => user.act(server, 'start', key)));
    expect(new Set(keyed.map(({ id }) => id)).size).to.equal(1);
    await user.ended(keyed[0]?.id ?? '');
    await expectOneProcess(server);
    await user.carry(server, 'stop');

    const keyless = await Promise.all(Array.from({ length: 50 }, () => user.act(server, 'start')));
    const ends = await Promise.all(keyless.map(({ id }) => user.ended(id)));
    const succeeded = ends.filter(({ state }) => state === 'succeeded');
    expect(succeeded).to.have.length(1);
    for (const { state, superseded_by } of ends) {
      if (state !== 'succeeded')
        expect({ state, superseded_by }).to.deep.equal({
          state: 'cancelled',
          superseded_by: succeeded[0]?.id,
        });
    }
    await expectOneProcess(server, 2);
    await user.carry(server, 'stop');
  });

  it(`a start and a stop that race, ${ROUNDS} times (seed ${SEED}): both end, and the one accepted last wins`, async () => {
    const random = createRandom(SEED);
    const rounds = Array.from({ length: ROUNDS }, () => ({
      verbs: random() < 0.5 ? (['start', 'stop'] as const) : (['stop', 'start'] as const),
      pauseMs: random() < 0.3 ? 0 : Math.floor(random() * 2_000),
    }));
    const servers = await Promise.all(Array.from({ length: TRACKS }, () => installServer()));
    await Promise.all(
      servers.map(async (server, track) => {
        for (const { verbs, pauseMs } of rounds.filter((_, at) => at % TRACKS === track)) {
          const [first, second] = verbs;
          const racing = [user.act(server, first), sleep(pauseMs).then(() => user.act(server, second))];
          const ends = await Promise.all(racing.map(async asked => user.ended((await asked).id)));
          const story = `${first}, ${pauseMs} ms, ${second} → ${ends.map(({ state }) => state).join(', ')}`;
          const last = await lastAccepted(server);
          const { status } = await user.server(server);
          expect(status, story).to.equal(last === 'server.start' ? 'running' : 'stopped');
          expect(await cluster.oracle.alive(server), story).to.have.length(status === 'running' ? 1 : 0);
        }
        expect(await cluster.oracle.overlaps(server)).to.deep.equal([]);
      }),
    );
  });

  it('a worker that is stopped in the middle of a write: another ends the operation, and the late write is refused', async () => {
    const server = await installServer();
    const trap = await setTrap(cluster.databaseUrl, server, 'started');
    const { id } = await user.act(server, 'start');
    await trap.sprung;
    // Its next write has reached the database, and waits there.
    await untilHeld(cluster.databaseUrl);
    const worker = cluster.part('worker');
    worker.freeze();
    const frozenAt = performance.now();
    await trap.release();
    await cluster.part('worker-2').restart();
    expect(await user.ended(id, 90_000)).to.include({ state: 'succeeded' });
    figures.push(['worker frozen in a write → another has ended the start', secondsSince(frozenAt)]);

    await sleep(Math.max(0, FROZEN_MS - (performance.now() - frozenAt)));
    worker.thaw();
    // It has come to itself when it carries the next operation, alone.
    await cluster.part('worker-2').kill();
    expect(await user.carry(server, 'restart')).to.include({ state: 'succeeded' });
    await expectEvents(id, STARTED);
    expect(await user.server(server)).to.include({ status: 'running' });
    await expectOneProcess(server, 2);
  });

  it('a worker that is stopped for longer than its heartbeat while the server boots: one process, one end', async () => {
    const { server, start } = await startSlowly();
    const worker = cluster.part('worker');
    worker.freeze();
    const frozenAt = performance.now();
    await cluster.part('worker-2').restart();
    figures.push(['worker frozen → another goes on', (await secondsToResume(start, frozenAt)).toFixed(1)]);
    await sleep(Math.max(0, FROZEN_MS - (performance.now() - frozenAt)));
    worker.thaw();
    expect(await user.ended(start)).to.include({ state: 'succeeded' });
    await expectEvents(start, STARTED);
    await expectOneProcess(server);
  });

  for (const how of ['kill', 'stop'] as const) {
    const signal = { kill: 'kill −9', stop: 'SIGTERM' }[how];
    it(`${signal} of a worker while a server boots: another goes on within ${RESUMED_WITHIN_S} s, with the same process`, async () => {
      const { server, start } = await startSlowly();
      const [pid] = await cluster.oracle.alive(server);
      await cluster.part('worker-2').restart();
      const struckAt = performance.now();
      const gone = cluster.part('worker')[how]();
      const seconds = await secondsToResume(start, struckAt);
      figures.push([`${signal} of the worker → the start goes on`, seconds.toFixed(1)]);
      await gone;
      expect(seconds).to.be.lessThan(RESUMED_WITHIN_S);
      expect(await user.ended(start)).to.include({ state: 'succeeded' });
      expect(await cluster.oracle.alive(server)).to.deep.equal([pid]);
      await expectEvents(start, STARTED);
      await expectOneProcess(server);
    });
  }

  it('a workflow that is terminated from outside: its operation is closed and the status true within 90 s', async () => {
    const { server, start } = await startSlowly();
    const terminatedAt = performance.now();
    await temporal.workflow.getHandle(`op:${start}`).terminate('by an operator');
    const ended = await user.ended(start, 90_000);
    figures.push(['workflow terminated → operation closed', secondsSince(terminatedAt)]);
    expect(ended).to.include({ state: 'failed' });
    expect(ended.error?.code).to.equal('lost-workflow');
    await waitFor(async () => (await user.server(server)).status === 'running', {
      timeoutMs: 90_000,
      what: 'the status to be what the server does',
    });
    figures.push(['workflow terminated → status true again', secondsSince(terminatedAt)]);
    await expectOneProcess(server);
  });

  async function lastAccepted(server: string): Promise<string | undefined> {
    const [last] = await rows<{ kind: string }>(
      cluster.db,
      `SELECT kind FROM operations WHERE server_id = $1 AND trigger = 'user' ORDER BY op_seq DESC LIMIT 1`,
      { bind: [server] },
    );
    return last?.kind;
  }
});

const secondsSince = (moment: number): string => ((performance.now() - moment) / 1000).toFixed(1);
