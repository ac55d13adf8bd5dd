import { expect } from 'chai';
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { Server as SocketIoServer } from 'socket.io';
import { routeUpgrades, type UpgradeRouter } from '#src/realtime/upgrade.js';
import { connectSocket } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';

/** Asks for an upgrade as a browser does; answers the status, and the socket of an upgrade that was granted. */
async function upgrade(port: number, path: string): Promise<{ status: number | undefined; socket?: Duplex }> {
  const asking = request({
    host: '127.0.0.1',
    port,
    path,
    headers: { connection: 'Upgrade', upgrade: 'websocket' },
  });
  asking.end();
  return new Promise((resolve, reject) => {
    asking.once('upgrade', ({ statusCode }, socket) => resolve({ status: statusCode, socket }));
    asking.once('response', (response: IncomingMessage) => {
      response.resume();
      resolve({ status: response.statusCode });
    });
    asking.once('error', reject);
  });
}

describe('upgrades of one http server that several transports share', () => {
  let http: Server;
  let io: SocketIoServer;
  let router: UpgradeRouter;
  let port: number;
  const sockets: Duplex[] = [];

  before(async () => {
    http = createServer((_request, response) => response.writeHead(404).end());
    io = new SocketIoServer(http, { destroyUpgrade: false, serveClient: false });
    router = routeUpgrades(http, {
      '/api/v1/ws': (_request, socket) => {
        sockets.push(socket);
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello',
        );
      },
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    const address = http.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    port = address.port;
  });
  after(async () => {
    router.close();
    await io.close();
  });

  it('go to whoever serves the path, whatever the query', async () => {
    const { status, socket } = await upgrade(port, '/api/v1/ws?token=x');
    expect(status).to.equal(101);
    await waitFor(() => sockets[0]?.writable, { what: 'the socket' });
    socket?.destroy();
  });

  it('of Socket.IO still work beside it', async () => {
    const client = await connectSocket(`http://127.0.0.1:${port}`, { token: 'any' });
    expect(client.socket.connected).to.equal(true);
    client.close();
  });

  for (const path of [
    '/',
    '/api/v1/ws/',
    '/api/v1/wsx',
    '/api/v1/WS',
    '/nowhere?x=/api/v1/ws',
    '//socket.io/',
  ]) {
    it(`are refused for an unknown path at once: ${path}`, async () => {
      expect(await upgrade(port, path)).to.deep.equal({ status: 404 });
    });
  }

  it('are cut at the end, also those whose peers read nothing', async () => {
    const { socket } = await upgrade(port, '/api/v1/ws');
    socket?.pause();
    router.close();
    await waitFor(() => sockets.every(each => each.destroyed), { what: 'the cut' });
    socket?.destroy();
  });
});
