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

/** A port that the kernel says is free. */
export function freePort(host = LOOPBACK): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen({ port: 0, host, exclusive: true }, () => {
      const bound = probe.address();
      probe.close(() => {
        if (bound !== null && typeof bound === 'object') resolve(bound.port);
        else reject(new Error(`no port to be had on ${host}`));
      });
    });
  });
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
