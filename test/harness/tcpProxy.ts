import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface TcpProxy {
  url: string;
  /** Ends every connection at once, without goodbye, as a broken network does. */
  cut(): void;
  /** While true, connections are cut and new ones get no further: the server is gone. */
  refuse(refused: boolean): void;
  /** While true, nothing more is read from the server: its client is as slow as can be. */
  stall(stalled: boolean): void;
  close(): Promise<void>;
}

/** Stands between a client and a server of this machine, for tests that need a bad network. */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<{ client: Socket; server: Socket }>();
  let isStalled = false;
  let isRefused = false;

  const listener = createServer(client => {
    if (isRefused) {
      client.resetAndDestroy();
      return;
    }
    const server = connect(Number(port), hostname);
    const pair = { client, server };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', end).on('close', end);
    client.pipe(server);
    server.pipe(client);
    if (isStalled) server.pause();
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');

  const cut = () =>
    pairs.forEach(({ client, server }) => [client, server].forEach(socket => socket.resetAndDestroy()));
  return {
    url: `http://127.0.0.1:${address.port}`,
    cut,
    refuse(refused) {
      isRefused = refused;
      if (refused) cut();
    },
    stall(stalled) {
      isStalled = stalled;
      for (const { server } of pairs) stalled ? server.pause() : server.resume();
    },
    async close() {
      cut();
      listener.close();
      await once(listener, 'close');
    },
  };
}
