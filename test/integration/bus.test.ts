import { expect } from 'chai';
import { Redis } from 'ioredis';
import type { Bus, BusTopics } from '#src/bus/bus.js';
import { createBus } from '#src/bus/createBus.js';
import { createRedisBus } from '#src/bus/redisBus.js';
import { silent } from '#test/harness/realtimeServer.js';
import { findRedisServer, startRedis, type TestRedis } from '#test/harness/redis.js';
import { waitFor } from '#test/harness/waitFor.js';

function poke(n: number): BusTopics['operation-events'] {
  return { operation_id: `op-${n}`, server_id: null };
}

function hear(bus: Bus): BusTopics['operation-events'][] {
  const heard: BusTopics['operation-events'][] = [];
  bus.subscribe('operation-events', payload => heard.push(payload));
  return heard;
}

describe('bus within one process', () => {
  let bus: Bus;
  beforeEach(() => {
    bus = createBus({ redisUrl: undefined, logger: silent });
  });
  afterEach(() => bus.close());

  it('tells every listener in order, but never inside the publisher’s stack', async () => {
    const heard = hear(bus);
    bus.publish('operation-events', poke(1));
    bus.publish('operation-events', poke(2));
    expect(heard).to.be.empty;
    await waitFor(() => heard.length === 2, { what: 'both pokes' });
    expect(heard).to.deep.equal([poke(1), poke(2)]);
  });

  it('keeps one listener’s failure from the publisher and from the other listeners', async () => {
    bus.subscribe('operation-events', () => {
      throw new Error('broken listener');
    });
    const heard = hear(bus);
    bus.publish('operation-events', poke(1));
    await waitFor(() => heard.length === 1, { what: 'the second listener' });
  });

  it('says nothing more to whoever has unsubscribed, also when they do it twice', async () => {
    const gone: unknown[] = [];
    const stop = bus.subscribe('operation-events', payload => gone.push(payload));
    const heard = hear(bus);
    stop();
    stop();
    bus.publish('operation-events', poke(1));
    await waitFor(() => heard.length === 1, { what: 'the listener that stayed' });
    expect(gone).to.be.empty;
  });

  it('does not claim to reach other processes', () => {
    expect(bus.shared).to.equal(false);
  });
});

describe('bus over Redis', () => {
  const binary = findRedisServer();
  let redis: TestRedis;
  let here: Bus;
  let there: Bus;
  before(async function () {
    if (binary === null) this.skip();
    this.timeout(20_000);
    redis = await startRedis(binary);
    here = createBus({ redisUrl: redis.url, logger: silent });
    there = createBus({ redisUrl: redis.url, logger: silent });
  });
  after(async () => {
    if (binary === null) return;
    await Promise.all([here.close(), there.close()]);
    await redis.stop();
  });

  it('carries pokes of every topic to the other process, and each once to its own', async () => {
    const local = hear(here);
    const remote = hear(there);
    const lines: BusTopics['console'][] = [];
    there.subscribe('console', payload => lines.push(payload));
    const samples: BusTopics['samples'][] = [];
    there.subscribe('samples', payload => samples.push(payload));
    await waitFor(() => here.shared && there.shared, { what: 'both to be joined' });

    here.publish('operation-events', poke(1));
    here.publish('console', { server_id: 's', head: 1_764_000_000_000_001 });
    here.publish('samples', { server_ids: ['s', 't'], head: 1_764_000_000_000_002 });
    here.publish('operation-events', poke(2));
    await waitFor(() => remote.length === 2 && lines.length === 1 && samples.length === 1, {
      what: 'the other process to hear',
    });
    // A third, the other way: by then an echo of the first two would have arrived.
    there.publish('operation-events', poke(3));
    await waitFor(() => local.length === 3, { what: 'this process to hear' });

    expect(local).to.deep.equal([poke(1), poke(2), poke(3)]);
    expect(remote).to.deep.equal([poke(1), poke(2), poke(3)]);
    expect(lines).to.deep.equal([{ server_id: 's', head: 1_764_000_000_000_001 }]);
    expect(samples).to.deep.equal([{ server_ids: ['s', 't'], head: 1_764_000_000_000_002 }]);
  });

  it('goes on locally while Redis is dead, neither throws nor waits, and joins again by itself', async function () {
    this.timeout(30_000);
    const local = hear(here);
    const remote = hear(there);
    await redis.kill();
    await waitFor(() => !here.shared, { what: 'the loss to be noticed' });

    const begun = performance.now();
    for (let n = 0; n < 5_000; n++) here.publish('operation-events', poke(n));
    expect(performance.now() - begun).to.be.below(500);
    await waitFor(() => local.length === 5_000, { what: 'the local listener' });

    await redis.restart();
    await waitFor(() => here.shared && there.shared, { what: 'both to be joined again', timeoutMs: 15_000 });
    here.publish('operation-events', poke(5_000));
    await waitFor(() => remote.length > 0, { what: 'the other process to hear again' });
    // Dropped, not queued: nobody is told late what the polls have long found.
    expect(remote).to.deep.equal([poke(5_000)]);
  });

  it('notices a Redis that hangs with its connections open, and joins again when it goes on', async function () {
    this.timeout(30_000);
    const watchful = createRedisBus({ url: redis.url, logger: silent, answerTimeoutMs: 300 });
    const heard = hear(watchful);
    await waitFor(() => watchful.shared, { what: 'it to be joined' });
    redis.freeze(true);
    const begun = performance.now();
    watchful.publish('operation-events', poke(1));
    expect(performance.now() - begun).to.be.below(100);
    await waitFor(() => !watchful.shared, { what: 'the hang to be noticed' });

    redis.freeze(false);
    await waitFor(() => watchful.shared && here.shared, { what: 'both to be joined', timeoutMs: 15_000 });
    here.publish('operation-events', poke(2));
    await waitFor(() => heard.length === 2, { what: 'the next poke' });
    await watchful.close();
  });

  it('does not choke on what another version or a stranger publishes', async () => {
    const remote = hear(there);
    const stranger = createBus({ redisUrl: redis.url, logger: silent });
    await waitFor(() => there.shared && stranger.shared, { what: 'both to be joined' });
    const raw = new Redis(redis.url);
    for (const text of ['', 'null', '{"from":1}', '{"from":"x","payload":{"operation_id":7}}']) {
      await raw.publish('aymc:operation-events', text);
    }
    raw.disconnect();
    stranger.publish('operation-events', poke(1));
    await waitFor(() => remote.length > 0, { what: 'the good one' });
    expect(remote).to.deep.equal([poke(1)]);
    await stranger.close();
  });

  it('closes at once although Redis does not answer', async function () {
    const bus = createBus({ redisUrl: redis.url, logger: silent });
    await waitFor(() => bus.shared, { what: 'it to be joined' });
    redis.freeze(true);
    const begun = performance.now();
    await bus.close();
    redis.freeze(false);
    expect(performance.now() - begun).to.be.below(2_000);
  });
});
