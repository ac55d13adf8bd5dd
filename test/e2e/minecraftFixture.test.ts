import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { requireJdk } from '#test/harness/java.js';
import {
  installMinecraftClient,
  joinServer,
  pingServer,
  type MinecraftClient,
} from '#test/harness/minecraftClient.js';
import { buildMinecraftJar, minecraftJavaMajor } from '#test/harness/minecraftJar.js';
import {
  startMinecraftServer,
  type MinecraftServerOptions,
  type MinecraftServerProcess,
} from '#test/harness/minecraftServer.js';
import { waitFor } from '#test/harness/waitFor.js';

/** The other end-to-end tests believe what this server does; here is why they may. */
describe('the Minecraft server and client of the tests', function () {
  this.timeout(60_000);
  let jar: string;
  let javaBin: string;
  let dir: string;
  let port: number;
  let servers: MinecraftServerProcess[];
  let clients: MinecraftClient[];

  before('build the server and install the client', async function () {
    this.timeout(15 * 60_000);
    [{ path: jar }, { javaBin }] = await Promise.all([
      buildMinecraftJar(),
      requireJdk(minecraftJavaMajor),
      installMinecraftClient(),
    ]);
  });

  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'minecraft-fixture-'));
    port = await freePort();
    servers = [];
    clients = [];
  });

  afterEach(async () => {
    await Promise.all(clients.map(client => client.quit()));
    for (const server of servers) {
      server.kill();
      await server.exited;
    }
    await rm(dir, { recursive: true, force: true });
  });

  async function start(options: Partial<MinecraftServerOptions> = {}): Promise<MinecraftServerProcess> {
    const server = await startMinecraftServer({ jar, javaBin, dir, port, ...options });
    servers.push(server);
    return server;
  }

  async function join(username: string): Promise<MinecraftClient> {
    const client = await joinServer({ port, username });
    clients.push(client);
    return client;
  }

  it('starts, lets a player in, carries the console to the chat and back, and stops with code 0', async () => {
    const server = await start({ properties: { motd: 'Hello fixture', 'max-players': 7 } });
    await server.waitUntilReady();
    const ann = await join('ann');
    await server.waitForLine(/: ann joined the game$/);

    server.command('say hello');
    expect(await ann.waitForChat(/hello/)).to.equal('[Server] hello');
    ann.chat('grüße');
    await server.waitForLine(/: <ann> grüße$/);
    server.command('list');
    await server.waitForLine(/: There are 1 of a max of 7 players online: ann$/);
    expect(await pingServer(port)).to.deep.equal({
      version: '1.21.4',
      protocol: 769,
      motd: 'Hello fixture',
      online: 1,
      max: 7,
      players: ['ann'],
    });

    server.command('stop');
    expect(await ann.ended).to.equal('Server closed');
    expect(await server.exited).to.deep.equal({ code: 0, signal: null });
  });

  it('keeps where a player stood over a restart, also when SIGTERM ended it', async () => {
    const first = await start();
    await first.waitUntilReady();
    const ann = await join('ann');
    ann.moveTo({ x: 3.5, y: 41, z: 2.5 });
    ann.chat('moved'); // packets keep their order: what the chat line proves, it proves for the move before it
    await first.waitForLine(/<ann> moved/);
    first.kill('SIGTERM');
    expect(await first.exited).to.deep.equal({ code: 143, signal: null });

    const second = await start();
    await second.waitUntilReady();
    expect((await join('ann')).spawn).to.deep.equal({ x: 3.5, y: 41, z: 2.5 });
  });

  it('ends with code 0 and vanilla’s hint while the EULA is not accepted', async () => {
    const server = await start({ eula: false });
    expect(await server.exited).to.deep.equal({ code: 0, signal: null });
    expect(server.lines.at(-1)).to.match(/: You need to agree to the EULA in order to run the server\. /);
    expect(await readFile(path.join(dir, 'eula.txt'), 'utf8')).to.contain('eula=false');
  });

  it('ends with code 1 when the port is taken', async () => {
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    try {
      const server = await start();
      expect(await server.exited).to.deep.equal({ code: 1, signal: null });
      await server.waitForLine(/WARN\]: \*\*\*\* FAILED TO BIND TO PORT!$/);
      await server.waitForLine(
        /WARN\]: The exception was: java\.net\.BindException: Address already in use$/,
      );
    } finally {
      squatter.close();
    }
  });

  it('crashes on demand: noise and a flood on the console, a report, code 1, nothing saved', async () => {
    const server = await start();
    await server.waitUntilReady();
    server.command('noise');
    await server.waitForLine(/^noise: a line without timestamp$/);
    await server.waitForLine(/^Caused by: /);
    await server.waitForLine(/^OpenJDK 64-Bit Server VM warning: /);
    server.command('flood 500 5000');
    await server.waitForLine(/: flood 500 of 500$/);
    const flood = server.lines.filter(line => line.includes(': flood '));
    expect(flood.map(line => Number(line.split(' ').at(-3)))).to.deep.equal(
      Array.from({ length: 500 }, (_, index) => index + 1),
    );

    server.command('op ann');
    await server.waitForLine(/: Made ann a server operator$/);
    const before = await hashFolder(path.join(dir, 'world'));
    server.command('crash');
    expect(await server.exited).to.deep.equal({ code: 1, signal: null });
    expect(await hashFolder(path.join(dir, 'world'))).to.equal(before);
    expect(await readdir(path.join(dir, 'crash-reports'))).to.have.lengthOf(1);
  });

  it('hangs on demand: deaf to stop and SIGTERM while the status ping still answers', async () => {
    const server = await start();
    await server.waitUntilReady();
    server.command('hang');
    await server.waitForLine(/Can't keep up!/);
    server.command('stop');
    server.kill('SIGTERM');
    expect(await pingServer(port)).to.include({ online: 0, protocol: 769 });
    expect(server.lines.filter(line => line.includes('Stopping'))).to.deep.equal([]);
    server.kill('SIGKILL');
    expect(await server.exited).to.deep.equal({ code: null, signal: 'SIGKILL' });
  });

  it('leaves every byte of the world alone after save-off, and writes again after save-on', async () => {
    const server = await start({ properties: { 'autosave-seconds': 1 } });
    await server.waitUntilReady();
    const ann = await join('ann');
    server.command('save-off');
    server.command('save-all flush');
    await server.waitForLine(/: Saved the game$/);
    const saved = await hashFolder(path.join(dir, 'world'));

    ann.moveTo({ x: 4.5, y: 41, z: 4.5 });
    server.command('setblock 1 41 1 minecraft:stone');
    await server.waitForLine(/: Changed the block at 1, 41, 1$/);
    server.command('flood 3 1'); // two autosaves would have been due when this is through
    await server.waitForLine(/: flood 3 of 3$/);
    expect(await hashFolder(path.join(dir, 'world'))).to.equal(saved);

    server.command('save-on');
    await waitFor(async () => (await hashFolder(path.join(dir, 'world'))) !== saved, { what: 'an autosave' });
  });

  it('can be held in its start, and can fail in it', async () => {
    const slow = await start({ properties: { 'start-delay-ms': 1500 } });
    const ready = await slow.waitUntilReady();
    expect(Number(/Done \(([\d.]+)s\)/.exec(ready)?.[1])).to.be.at.least(1.5);

    const broken = await start({ port: await freePort(), properties: { 'fail-start': 'true' } });
    expect(await broken.exited).to.deep.equal({ code: 1, signal: null });
    await broken.waitForLine(/ERROR\]: Failed to start the minecraft server$/);
    expect(broken.lines.join('\n')).not.to.contain('Done (');
  });

  it('tells the oracle when it lives, by the same clock as ours', async () => {
    const oracle = path.join(dir, 'oracle.jsonl');
    const env = { AYMC_ORACLE: oracle, AYMC_SERVER_ID: 's1', AYMC_AGENT_ID: 'a1', AYMC_EPOCH: '7' };
    const t0 = process.hrtime.bigint();
    const server = await start({ env });
    await server.waitUntilReady();
    server.command('stop');
    await server.exited;
    const t1 = process.hrtime.bigint();

    const lines = (await readFile(oracle, 'utf8')).trimEnd().split('\n');
    const events: unknown[] = lines.map((line): unknown => JSON.parse(line));
    const id = { server: 's1', agent: 'a1', epoch: 7, pid: server.pid };
    expect(events).to.have.lengthOf(2);
    expect(events[0]).to.deep.include({ ...id, event: 'start' });
    expect(events[1]).to.deep.include({ ...id, event: 'stop' });
    const times = lines.map(line => BigInt(/"t":(\d+)/.exec(line)?.[1] ?? 0));
    expect([t0, ...times, t1]).to.deep.equal([t0, ...times, t1].sort((a, b) => (a < b ? -1 : 1)));
  });
});

/** Names and contents of all files below. */
async function hashFolder(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const file = path.join(folder, name);
    if ((await stat(file)).isFile()) hash.update(name).update(await readFile(file));
  }
  return hash.digest('hex');
}
