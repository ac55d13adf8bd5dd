import { readFile, readdir } from 'node:fs/promises';
import { readFileSync } from 'node:fs';

/** A Minecraft server process that was seen in the kernel's process table. */
interface Sighting {
  pid: number;
  serverId: string;
  firstSeen: bigint;
  lastSeen: bigint;
}

/** The life of one process, on the kernel's monotonic clock in nanoseconds. */
interface Life {
  pid: number;
  from: bigint;
  till: bigint;
}

const LOOK_EVERY_MS = 50;

/**
 * Tells how many processes serve a server, without asking any of our code: from the lines that the Minecraft servers
 * themselves append to the file AYMC_ORACLE, and from a look at the process table twenty times a second.
 */
export class Oracle {
  readonly #sightings = new Map<string, Sighting>();
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();

  constructor(readonly file: string) {
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look());
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** Who serves this server at this moment. */
  async alive(serverId: string): Promise<number[]> {
    return (await this.aliveOf()).get(serverId) ?? [];
  }

  /** Who serves at this moment, by server. */
  async aliveOf(): Promise<Map<string, number[]>> {
    const pids = new Map<string, number[]>();
    for (const { pid, serverId } of await findMinecraftProcesses()) {
      pids.set(serverId, [...(pids.get(serverId) ?? []), pid]);
    }
    return pids;
  }

  /** How many processes have begun to serve it since it was made. */
  async starts(serverId: string): Promise<number> {
    return (await this.#lives(serverId)).length;
  }

  /** Every pair of processes that served the same server at the same time; must be empty. */
  async overlaps(serverId: string): Promise<string[]> {
    const lives = await this.#lives(serverId);
    return lives.flatMap((life, at) =>
      lives
        .slice(at + 1)
        .filter(next => next.from <= life.till)
        .map(
          next =>
            `pid ${next.pid} began ${(life.till - next.from) / 1_000_000n} ms before ${life.pid} was gone`,
        ),
    );
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /** From a process's own "start" till its own "stop", or till it was last seen, whichever is later. By their start. */
  async #lives(serverId: string): Promise<Life[]> {
    await this.#looking;
    const lives: Life[] = [];
    for (const { server, pid, event, t } of await readTestimony(this.file)) {
      if (server !== serverId) continue;
      const open = lives.findLast(life => life.pid === pid);
      if (event === 'start') lives.push({ pid, from: t, till: t });
      else if (open) open.till = t;
    }
    for (const seen of this.#sightings.values()) {
      if (seen.serverId !== serverId) continue;
      const life = lives.find(({ pid }) => pid === seen.pid);
      // One without a word of its own was killed before its first line.
      if (!life) lives.push({ pid: seen.pid, from: seen.firstSeen, till: seen.lastSeen });
      else if (seen.lastSeen > life.till) life.till = seen.lastSeen;
    }
    return lives.sort((a, b) => (a.from < b.from ? -1 : 1));
  }

  async #look(): Promise<void> {
    // Before the look: whoever is found after it was certainly alive then.
    const now = process.hrtime.bigint();
    for (const { pid, serverId } of await findMinecraftProcesses()) {
      const key = `${serverId}/${pid}`;
      const known = this.#sightings.get(key);
      if (known) known.lastSeen = now;
      else this.#sightings.set(key, { pid, serverId, firstSeen: now, lastSeen: now });
    }
  }
}

/** Processes called `java` that were started for a server, wherever they came from. Zombies are dead. */
async function findMinecraftProcesses(): Promise<{ pid: number; serverId: string }[]> {
  const found = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      if (!/^\d+ \(java\) [^ZX]/.test(stat)) continue;
      const serverId = /(?:^|\0)AYMC_SERVER_ID=([^\0]*)/.exec(
        readFileSync(`/proc/${name}/environ`, 'utf8'),
      )?.[1];
      if (serverId !== undefined) found.push({ pid: Number(name), serverId });
    } catch {
      // It has ended between the look at the folder and the look at the file.
    }
  }
  return found;
}

interface Testimony {
  server: string;
  pid: number;
  event: 'start' | 'stop' | 'crash';
  t: bigint;
}

/** `t` is read from the text: a nanosecond of an uptime beyond 104 days has more digits than a double. */
async function readTestimony(file: string): Promise<Testimony[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const line = /"server":"([^"]+)".*"pid":(\d+),"event":"(start|stop|crash)","t":(\d+)/g;
  return [...text.matchAll(line)].map(([, server = '', pid, event, t = '0']) => ({
    server,
    pid: Number(pid),
    event: event === 'start' || event === 'stop' ? event : 'crash',
    t: BigInt(t),
  }));
}
