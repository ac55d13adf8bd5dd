import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { PingWatch } from '../../agent/sampling/pingWatch.js';
import { encodeVarInt } from '../../agent/sampling/statusPing.js';

/** A status with three players, as a server sends it. */
const TEXT = Buffer.from('{"players":{"online":3}}');
const STATUS = Buffer.from([...encodeVarInt(TEXT.length + 2), 0, TEXT.length, ...TEXT]);

describe('agent ping watch', () => {
  let folder: string;
  let port: number;
  let server: Server | undefined;
  let watch: PingWatch;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-ping-'));
    port = await freePort();
    watch = new PingWatch(folder);
    await write({ 'server-port': String(port) });
  });

  afterEach(async () => {
    server?.close();
    server = undefined;
    sockets.splice(0).forEach(socket => socket.destroy());
    await rm(folder, { recursive: true, force: true });
  });

  const write = (properties: Record<string, string>): Promise<void> =>
    writeFile(
      join(folder, 'server.properties'),
      Object.entries(properties)
        .map(([key, value]) => `${key}=${value}\n`)
        .join(''),
    );

  async function listen(serve: (socket: Socket) => void, host = '127.0.0.1'): Promise<void> {
    const listening = createServer(socket => {
      sockets.push(socket);
      serve(socket.on('error', () => undefined));
    });
    server = listening;
    await new Promise<void>(resolve => listening.listen(port, host, resolve));
  }

  const answer = (socket: Socket): void => void socket.once('data', () => socket.write(STATUS));
  const known = () => [watch.playersOnline, watch.silentSeconds];

  it('finds the server where its settings say, and nowhere off this host', async () => {
    await write({ 'server-port': String(port), 'server-ip': '127.0.0.1' });
    await listen(answer);
    await watch.ping();
    expect(known()).to.deep.equal([3, 0]);
    watch = new PingWatch(folder);
    await write({ 'server-port': String(port), 'server-ip': '192.0.2.1' });
    await watch.ping();
    expect(known(), 'asked here instead').to.deep.equal([3, 0]);
  });

  it('knows nothing where nobody has ever answered', async () => {
    await watch.ping();
    expect(known()).to.deep.equal([undefined, undefined]);
    await listen(socket => socket.end());
    await watch.ping();
    expect(known()).to.deep.equal([undefined, undefined]);
  });

  it('counts from the first ping without an answer, once there was one', async () => {
    await listen(answer);
    await watch.ping();
    server?.close();
    await watch.ping();
    const first = watch.silentSeconds ?? -1;
    expect(first).to.be.within(0, 5);
    expect(watch.playersOnline).to.equal(undefined);
    await watch.ping();
    expect(watch.silentSeconds).to.be.at.least(first);
    await listen(answer);
    await watch.ping();
    expect(known()).to.deep.equal([3, 0]);
  });

  it('counts silence at once: somebody holds the port and does not serve it', async () => {
    await listen(() => undefined);
    await watch.ping();
    expect(watch.silentSeconds).to.be.within(1.9, 10);
  });

  it('does not wait for a server.properties that is no file', async () => {
    await rm(join(folder, 'server.properties'));
    execFileSync('mkfifo', [join(folder, 'server.properties')]);
    await watch.ping();
  });
});
