import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { getProperty } from '../serverProperties.js';
import { bootSeconds } from '../system.js';
import { type PingAddress, pingStatus } from './statusPing.js';

const LOOPBACK = '127.0.0.1';
const DEFAULT_PORT = 25_565;
const PROPERTIES_BYTES_MAX = 256 * 1024;

/** What one run's server-list pings have told. */
export class PingWatch {
  #address: PingAddress | undefined;
  #answeredOnce = false;
  #unansweredSince: number | undefined;
  #playersOnline: number | undefined;

  constructor(private readonly folder: string) {}

  get playersOnline(): number | undefined {
    return this.#playersOnline;
  }

  /**
   * For how long pings have gone unanswered; 0 = they are answered; undefined = nothing is known. Where nobody has ever
   * answered, a refusal says that the port is another one than we know, or that status is switched off. Silence says
   * that somebody holds the port and does not serve it: so does a stopped process, for which the kernel accepts.
   */
  get silentSeconds(): number | undefined {
    if (this.#unansweredSince !== undefined) return bootSeconds() - this.#unansweredSince;
    return this.#answeredOnce ? 0 : undefined;
  }

  async ping(): Promise<void> {
    // As it was when the server had just read it; who edits the file later means the next run.
    this.#address ??= await addressIn(this.folder);
    const askedAt = bootSeconds();
    const result = await pingStatus(this.#address);
    this.#playersOnline = result.kind === 'answered' ? result.playersOnline : undefined;
    if (result.kind === 'answered') {
      this.#answeredOnce = true;
      this.#unansweredSince = undefined;
    } else if (result.kind === 'silent' || this.#answeredOnce) {
      this.#unansweredSince ??= askedAt;
    }
  }
}

/** Where a server listens that was started in this folder. Never an address that is not this host's. */
async function addressIn(folder: string): Promise<PingAddress> {
  const text = await readProperties(join(folder, 'server.properties'));
  const port = Number(getProperty(text, 'server-port') ?? DEFAULT_PORT);
  const ip = getProperty(text, 'server-ip')?.trim() ?? '';
  const isOurs = Object.values(networkInterfaces()).some(addresses =>
    addresses?.some(({ address }) => address === ip),
  );
  return {
    host: isOurs ? ip : LOOPBACK,
    port: Number.isInteger(port) && port > 0 && port < 65_536 ? port : DEFAULT_PORT,
  };
}

/** Nothing of a file that can't be read or is too big. */
async function readProperties(path: string): Promise<string> {
  try {
    // O_NONBLOCK: opening a FIFO that someone put there must not wait for its writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile() || stats.size > PROPERTIES_BYTES_MAX) return '';
      const { buffer, bytesRead } = await file.read(Buffer.alloc(stats.size));
      return buffer.toString('latin1', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}
