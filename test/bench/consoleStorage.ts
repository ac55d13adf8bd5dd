import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { connectDatabase, type Database } from '#src/db/connect.js';
import { storeConsole } from '#src/db/consoleStorage.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMigrator } from '#src/db/migrator.js';
import { row } from '#src/db/sql.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { startPostgres } from '#processes/dev/postgresServer.js';
import { buildServer } from '#test/build.js';
import { median, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { makeWorkFolder, processesIn } from './lib/processes.js';
import { cpuSecondsOf } from './lib/procfs.js';

const PIECES: readonly { lines: number; count: number }[] = [
  { lines: 1, count: 300 },
  { lines: 10, count: 300 },
  { lines: 100, count: 200 },
  { lines: 1000, count: 60 },
];
const ROUNDS = 5;
const LINE =
  '[12:00:00] [Server thread/INFO]: a line of a console, about as long as they are: x=-1203.5 y=64.0 z=881.2';

/** Parsed and stored one piece after the other, as a collector does it for one server, on a Postgres that syncs. */
export const consoleStorage: Benchmark = {
  name: 'consoleStorage',
  about: 'console lines stored a second and by processor time, by lines a piece; bytes that they take',
  async measure(say) {
    const { path, release } = await makeWorkFolder();
    const dataDir = join(path, 'data');
    mkdirSync(dataDir);
    const postgres = await startPostgres({ dataDir });
    const db = connectDatabase({ url: postgres.url, poolMax: 2, applicationName: 'bench' });
    try {
      await createMigrator(db).up();
      await ensurePartitions(db);
      const store = await storerOf(db);
      await measurePiece(store, dataDir, 100, 50);
      const figures: Figure[] = [];
      for (const { lines, count } of PIECES) {
        const rounds: Speed[] = [];
        for (let n = 0; n < ROUNDS; n++) rounds.push(await measurePiece(store, dataDir, lines, count));
        say(`${lines} a piece: ${rounds.map(({ aSecond }) => aSecond.toFixed(0)).join(' ')} lines/s`);
        const perCore = rounds.map(({ perCoreSecond }) => perCoreSecond);
        const name = `lines stored, ${lines} a piece`;
        figures.push(
          { name, value: median(rounds.map(({ aSecond }) => aSecond)), unit: '/s', note: 'one at a time' },
          { name: `${name}, per core`, value: median(perCore), unit: '/s', note: spreadOf(perCore) },
        );
      }
      return [...figures, ...(await sizes(db))];
    } finally {
      await db.close();
      await postgres.stop();
      rmSync(dataDir, { recursive: true, force: true });
      release();
    }
  },
};

type Store = (lines: readonly string[]) => Promise<void>;

async function storerOf(db: Database): Promise<Store> {
  const { id: server_id } = await buildServer(db);
  let offset = 0;
  return async lines => {
    const [from, to] = [offset, offset + lines.length * (LINE.length + 1)];
    const piece = { server_id, run_id: 'bench', from, to, at_ms: Date.now(), entries: joinEntries(lines) };
    const { outcome } = await storeConsole(db, piece);
    if (outcome !== 'stored') throw new Error(outcome);
    offset = to;
  };
}

interface Speed {
  aSecond: number;
  /** Of this process and of all of Postgres. */
  perCoreSecond: number;
}

async function measurePiece(store: Store, dataDir: string, lines: number, count: number): Promise<Speed> {
  const piece = Array.from({ length: lines }, () => LINE);
  const busy = (): number => cpuSecondsOf(process.pid) + sum(processesIn(dataDir).map(cpuSecondsOf));
  const [began, before] = [performance.now(), busy()];
  for (let n = 0; n < count; n++) await store(piece);
  const [seconds, cpuSeconds] = [(performance.now() - began) / 1000, busy() - before];
  return { aSecond: (lines * count) / seconds, perCoreSecond: (lines * count) / cpuSeconds };
}

async function sizes(db: Database): Promise<Figure[]> {
  const found = await row<{ lines: number; heap: number; indexes: number }>(
    db,
    `SELECT (SELECT count(*) FROM logs) AS lines, sum(pg_table_size(inhrelid))::bigint AS heap,
       sum(pg_indexes_size(inhrelid))::bigint AS indexes
     FROM pg_inherits WHERE inhparent = 'logs'::regclass`,
  );
  if (!found) return [];
  const perMillion = (bytes: number): number => bytes / found.lines;
  const note = `lines of ${LINE.length} bytes`;
  return [
    { name: 'a million lines, table', value: perMillion(found.heap), unit: 'MB', note },
    { name: 'a million lines, indexes', value: perMillion(found.indexes), unit: 'MB', note },
  ];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
