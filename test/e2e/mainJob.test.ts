import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Message } from '#src/contracts/events.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { connectApi } from '#test/harness/apiClient.js';
import { ClusterUser } from '#test/harness/clusterUser.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { installMinecraftClient, joinServer } from '#test/harness/minecraftClient.js';
import { buildMinecraftJar, type MinecraftJar } from '#test/harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import { connectSocket, operationData, statusData, type SocketClient } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';

/** What the product is for, on real parts: the processes of an installation, a JVM, a Minecraft server, a player. */
describe('the main job', function () {
  this.timeout(180_000);
  let jar: MinecraftJar;
  let upstream: JarServer;
  let cluster: Cluster;
  let user: ClusterUser;
  let port: number;
  let sockets: SocketClient[];

  before(async function () {
    this.timeout(15 * 60_000);
    [jar] = await Promise.all([buildMinecraftJar(), installMinecraftClient()]);
    upstream = await serveJar(jar.path);
    cluster = await startCluster();
  });
  beforeEach(async () => {
    sockets = [];
    port = await freePort();
    user = await signUp(cluster.url);
  });
  afterEach(() => sockets.forEach(socket => socket.close()));
  after(async () => {
    await cluster?.stop();
    await upstream?.close();
  });

  const create = async () => {
    const created = await user.create({ jarUrl: upstream.url, jarSha256: jar.sha256, port });
    const provision = await user.ended(created.operationId);
    await addProperties(cluster.agent, created.id, { 'server-ip': '127.0.0.1' });
    return { server: created.id, provision };
  };
  const watch = async (...channels: string[]) => {
    const socket = await connectSocket(cluster.url, { token: user.token });
    sockets.push(socket);
    expect((await socket.subscribe(channels)).denied).to.deep.equal([]);
    return socket;
  };
  const succeeded = { state: 'succeeded', error: null };

  it('is done from registering to deleting: a player joins, hears the console, and comes back after a restart', async () => {
    const { server, provision } = await create();
    expect(provision).to.include(succeeded);
    const logs = `server:${server}:logs`;
    const socket = await watch(logs, `server:${server}:status`);

    expect(await user.carry(server, 'start')).to.include(succeeded);
    const steve = await joinServer({ port, username: 'steve' });
    await waitFor(() => saw(socket.of(logs), /steve joined the game/), { what: 'the join in the live log' });

    const said = await user.send('POST', `/servers/${server}/command`, { command: 'say hello' });
    expect(said).to.deep.include({ status: 200 });
    expect(await steve.waitForChat(/hello/)).to.equal('[Server] hello');
    await waitFor(() => saw(socket.of(logs), /\[Server\] hello/), { what: 'hello in the live log' });
    expect(await socket.command(server, 'say bye')).to.include({ accepted: true });
    expect(await steve.waitForChat(/bye/)).to.equal('[Server] bye');

    expect(await user.carry(server, 'restart')).to.include(succeeded);
    expect(await steve.ended).to.equal('Server closed');
    const again = await joinServer({ port, username: 'steve' });
    await again.quit();

    expect(await user.carry(server, 'stop')).to.include(succeeded);
    expect(await cluster.oracle.alive(server)).to.deep.equal([]);
    expect(await user.carry(server, 'delete')).to.include(succeeded);
    expect((await user.send('GET', `/servers/${server}`)).status).to.equal(404);
    expect(await exists(join(cluster.agent.process.workDir, server)), 'the folder on the host').to.equal(
      false,
    );

    const statuses = statusData(socket.of(`server:${server}:status`)).map(({ status }) => status);
    expect(withoutRepeats(statuses).join(' ')).to.equal(
      'stopped starting running stopping stopped starting running stopping stopped',
    );
    expect(await cluster.oracle.overlaps(server)).to.deep.equal([]);
    expect(await cluster.oracle.starts(server)).to.equal(2);
  });

  it('is shown over Socket.IO without a gap or a repeat, although the connection breaks midway', async () => {
    const { server } = await create();
    const channel = `server:${server}:operations`;
    const first = await watch(channel);
    const start = await user.act(server, 'start');
    await waitFor(() => eventsOf(first, channel, start.id).some(({ type }) => type === 'status_changed'), {
      what: 'the start to be seen',
    });
    first.cut();
    const seen = first.cursors.get(channel);
    await user.ended(start.id);
    const stop = await user.act(server, 'stop');

    const second = await connectSocket(cluster.url, { token: user.token });
    sockets.push(second);
    await second.subscribe([channel], seen === undefined ? {} : { [channel]: seen });
    await user.ended(stop.id);
    await waitFor(() => eventsOf(second, channel, stop.id).some(({ type }) => type === 'succeeded'), {
      what: 'the end of the stop to be seen',
    });
    for (const operation of [start, stop]) {
      const shown = [first, second].flatMap(socket => eventsOf(socket, channel, operation.id));
      const recorded = await user.events(operation.id);
      expect(shown.map(({ seq }) => seq)).to.deep.equal(recorded.map((_, at) => at + 1));
      expect(shown).to.deep.equal(recorded);
    }
  });
});

async function signUp(url: string): Promise<ClusterUser> {
  const username = `steve-${Date.now()}`;
  const password = 'correct horse battery';
  const guest = connectApi(url);
  const account = { username, email: `${username}@example.test`, password };
  const registered = await guest.POST('/api/v1/auth/register', { body: account });
  expect(registered.response.status).to.equal(201);
  const { data, response } = await guest.POST('/api/v1/auth/login', { body: { username, password } });
  expect(response.status).to.equal(200);
  return new ClusterUser(url, data?.access_token ?? '');
}

function eventsOf(socket: SocketClient, channel: string, operationId: string) {
  return operationData(socket.of(channel))
    .map(({ event }) => event)
    .filter(event => event.operation_id === operationId);
}

function saw(messages: readonly Message[], pattern: RegExp): boolean {
  return messages.some(({ type, data }) => type === 'log_entry' && pattern.test(JSON.stringify(data)));
}

function withoutRepeats(statuses: readonly string[]): string[] {
  return statuses.filter((status, at) => status !== statuses[at - 1]);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
