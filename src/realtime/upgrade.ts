import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Owns the socket from here on. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** Engine.io takes its own upgrades by itself, and recognises them by this prefix. */
const ENGINE_IO_PREFIX = '/socket.io/';

/**
 * Sends each WebSocket upgrade of the one http server to whoever serves its path, and ends the rest: engine.io must
 * run with `destroyUpgrade: false` beside others, so that nobody else would. Answers the function that stops it.
 */
export function routeUpgrades(http: Server, routes: Record<string, UpgradeHandler> = {}): () => void {
  const byPath = new Map(Object.entries(routes));

  function route(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = request.url ?? '';
    if (url.startsWith(ENGINE_IO_PREFIX)) return;
    const handler = byPath.get(url.split('?', 1)[0] ?? '');
    if (handler) handler(request, socket, head);
    else refuse(socket);
  }

  http.on('upgrade', route);
  return () => void http.off('upgrade', route);
}

function refuse(socket: Duplex): void {
  // The peer may be gone already; nobody is left to be told.
  socket.on('error', () => socket.destroy());
  socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () =>
    socket.destroy(),
  );
}
