import type { Server } from 'node:http';

/** Hangs up on an address that has `max` connections already. What it remembers ends with the connections. */
export function limitConnectionsPerIp(server: Server, max: number): void {
  const open = new Map<string, number>();
  server.on('connection', socket => {
    const address = socket.remoteAddress;
    const count = address === undefined ? max : (open.get(address) ?? 0);
    if (address === undefined || count >= max) return void socket.destroy();
    open.set(address, count + 1);
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1;
      if (left > 0) open.set(address, left);
      else open.delete(address);
    });
  });
}
