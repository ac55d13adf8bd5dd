import { connect, createServer } from 'node:net';

export const LOOPBACK = '127.0.0.1';

/** Whether something could listen there right now; another process may still be faster. */
export function isFree(port: number, host = LOOPBACK): Promise<boolean> {
  return new Promise(resolve => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/**
 * Where free ports are looked for: below those that kernels give to outgoing connections (from 32768 on Linux), and
 * above the usual ones. From the kernel's own range, a connection of anyone could take a part's port while the part is
 * down, and it could not be started again where it was.
 */
const FIRST_PORT = 28_000;
const PORTS = 4_768;

/** One process never offers a port twice in a row of `PORTS`; several begin at different ones. */
let offered = Math.floor(Math.random() * PORTS);

/** A port where nothing listens right now, and where nothing but a listener ever will. */
export async function freePort(host = LOOPBACK): Promise<number> {
  for (let attempt = 0; attempt < PORTS; attempt++) {
    offered = (offered + 1) % PORTS;
    const port = FIRST_PORT + offered;
    if (await isFree(port, host)) return port;
  }
  throw new Error(`no port to be had on ${host}`);
}

/** The usual port when nobody has it, else a free one. */
export async function pickPort(preferred: number, host = LOOPBACK): Promise<number> {
  return (await isFree(preferred, host)) ? preferred : freePort(host);
}

/** Whether something accepts connections there. */
export function answers(port: number, host = LOOPBACK, timeoutMs = 1000): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ port, host, timeout: timeoutMs });
    const settle = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => settle(true));
    socket.once('timeout', () => settle(false));
    socket.once('error', () => settle(false));
  });
}
