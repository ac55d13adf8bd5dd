import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyTree } from '../../agent/work/copyTree.js';
import { type Benchmark, median, spreadOf } from './lib/figures.js';

const FILES = 512;
const FILE_BYTES = 4 * 1024 * 1024;
const ROUNDS = 5;

/** How long an upgrade keeps a server down for its copy, and what room that takes. */
export const snapshot: Benchmark = {
  name: 'snapshot',
  about: 'copy of a folder of 2 GiB in 512 files, on the file system of BENCH_FOLDER (default: of /tmp)',
  async measure(say) {
    const folder = await mkdtemp(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'aymc-snapshot-'));
    const [from, to] = [join(folder, 'server'), join(folder, 'copy')];
    const took: number[] = [];
    const room: number[] = [];
    try {
      await mkdir(from);
      for (let n = 0; n < FILES; n++) await writeFile(join(from, `r.${n}.mca`), randomBytes(FILE_BYTES));
      for (let round = 1; round <= ROUNDS; round++) {
        const before = await freeBytes(folder);
        took.push(await secondsOfCopy(from, to));
        room.push((before - (await freeBytes(folder))) / 1e6);
        say(`copied in ${took.at(-1)?.toFixed(2)} s`);
        await rm(to, { recursive: true });
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return [
      { name: 'copy of 2 GiB, on the disk', value: median(took), unit: 's', note: spreadOf(took) },
      { name: 'room that the copy takes', value: median(room), unit: 'MB', note: spreadOf(room) },
    ];
  },
};

async function secondsOfCopy(from: string, to: string): Promise<number> {
  const { signal } = new AbortController();
  const began = performance.now();
  await copyTree({ from, to, path: process.env['PATH'] ?? '', signal, onProgress: () => undefined });
  return (performance.now() - began) / 1000;
}

async function freeBytes(folder: string): Promise<number> {
  const { bfree, bsize } = await statfs(folder);
  return bfree * bsize;
}
