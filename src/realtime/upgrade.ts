import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Owns the socket from here on. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** Engine.io takes its own upgrades by itself, and recognises them by this prefix. */
const ENGINE_IO_PREFIX = '/socket.io/';

export interface UpgradeRouter {
  /**
   * The last step of a shutdown, after the transports have said goodbye: cuts the upgraded connections that are left.
   * Node's http server does not count them among those it closes, and ws waits half a minute for a peer that reads
   * nothing.
   */
  close(): void;
}

/**
 * Sends each WebSocket upgrade of the one http server to whoever serves its path, and ends the rest: engine.io must
 * run with `destroyUpgrade: false` beside others, so that nobody else would.
 */
export function routeUpgrades(http: Server, routes: Record<string, UpgradeHandler> = {}): UpgradeRouter {
  const byPath = new Map(Object.entries(routes));
  // Each leaves when it closes.
  const upgraded = new Set<Duplex>();

  function route(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    upgraded.add(socket);
    socket.once('close', () => upgraded.delete(socket));
    const url = request.url ?? '';
    if (url.startsWith(ENGINE_IO_PREFIX)) return;
    const handler = byPath.get(url.split('?', 1)[0] ?? '');
    if (handler) handler(request, socket, head);
    else refuse(socket);
  }

  http.on('upgrade', route);
  return {
    close() {
      http.off('upgrade', route);
      for (const socket of upgraded) socket.destroy();
    },
  };
}

function refuse(socket: Duplex): void {
  // The peer may be gone already; nobody is left to be told.
  socket.on('error', () => socket.destroy());
  socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () =>
    socket.destroy(),
  );
}
