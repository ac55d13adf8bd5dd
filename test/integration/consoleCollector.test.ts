import { setImmediate as tick } from 'node:timers/promises';
import { expect } from 'chai';
import { ConsoleCollector, StalePosition } from '#activities/consoleCollector.js';
import type { ConsoleChunk } from '#proto/gen/agent.js';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import { readLogs, storeConsole } from '#src/db/consoleStorage.js';
import { row } from '#src/db/sql.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { buildServer } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { silent } from '#test/harness/realtimeServer.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('a collector of consoles', function () {
  this.timeout(20_000);
  let database: TestDatabase;
  let bus: Bus;
  let collector: ConsoleCollector;
  let failures: number;

  before(async () => {
    database = await createTestDatabase();
    bus = createBus({ redisUrl: undefined, logger: silent });
  });
  beforeEach(() => {
    failures = 0;
    collector = new ConsoleCollector({ db: database.db, bus }, new Map(), () => void (failures += 1));
  });
  afterEach(() => collector.close());
  after(async () => {
    await bus.close();
    await database.drop();
  });

  const build = async () => (await buildServer(database.db)).id;
  const chunk = (offset: number, lines: string[], runId = 'r'): ConsoleChunk => {
    const bytes = lines.reduce((sum, line) => sum + line.length + 1, 0);
    return { runId, offset, nextOffset: offset + bytes, lines, droppedBytes: 0 };
  };
  /** Feeds a server so many chunks of about so many bytes; answers the lines. */
  const feed = (id: string, chunks: number, bytes: number, runId = 'r') => {
    const printed: string[] = [];
    let offset = 0;
    for (let n = 0; n < chunks; n++) {
      const lines = Array.from({ length: Math.ceil(bytes / 100) }, (_, at) =>
        `${runId} ${n}.${at} `.padEnd(99, 'x'),
      );
      const next = chunk(offset, lines, runId);
      collector.add(id, next, { at_ms: Date.now(), clock_ms: 0 });
      printed.push(...lines);
      offset = next.nextOffset;
    }
    return printed;
  };
  const stored = async (id: string) =>
    (await readLogs(database.db, id, { limit: 100_000 })).map(({ message }) => message);
  const isStored = (id: string, count: number) =>
    waitFor(async () => (await stored(id)).length === count, { what: `${count} lines of ${id}` });
  const hasRoom = () => Promise.race([collector.room().then(() => true), tick().then(() => false)]);

  it('keeps each server’s order, over runs and however many servers print at once', async () => {
    const ids = await Promise.all(Array.from({ length: 8 }, build));
    const printed = ids.map(id => [...feed(id, 5, 3_000), ...feed(id, 5, 3_000, 'r2')]);
    for (const [at, id] of ids.entries()) {
      await isStored(id, printed[at]?.length ?? 0);
      expect(await stored(id)).to.deep.equal(printed[at]);
    }
  });

  it('stores the others while one server’s statement hangs, and takes no more than its share of that one', async () => {
    const [hung, other] = [await build(), await build()];
    feed(hung, 1, 100);
    await isStored(hung, 1);
    const blocker = await database.db.sequelize.transaction();
    try {
      await row(database.db, 'SELECT FROM log_cursors WHERE server_id = $1 FOR UPDATE', {
        bind: [hung],
        transaction: blocker,
      });
      collector.add(hung, chunk(100, ['stuck']), { at_ms: Date.now(), clock_ms: 0 });
      const lines = feed(other, 3, 10_000);
      await isStored(other, lines.length);
      expect(await hasRoom()).to.equal(true);
      feed(hung, 3, 64 * 1024, 'r2');
      expect(await hasRoom()).to.equal(false);
    } finally {
      await blocker.commit();
    }
    await collector.room();
    expect(failures).to.equal(0);
  });

  it('tells that someone else has stored, by a position to go on from', async () => {
    const id = await build();
    const entries = joinEntries(['a', 'b']);
    await storeConsole(database.db, {
      server_id: id,
      run_id: 'r',
      from: 0,
      to: 40,
      at_ms: Date.now(),
      entries,
    });
    feed(id, 1, 100);
    await waitFor(() => failures === 1, { what: 'the failure' });
    const failure: unknown = await collector.room().catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(StalePosition);
    expect(failure).to.deep.include({ serverId: id, position: { run_id: 'r', byte_offset: 40 } });
  });

  it('waits for a trace that is being printed, but not long', async () => {
    const id = await build();
    collector.add(id, chunk(0, ['[12:00:00 ERROR]: oops']), { at_ms: Date.now(), clock_ms: 0 });
    collector.add(id, chunk(23, ['java.lang.Error: x', '\tat a.B.c(B.java:1)']), {
      at_ms: Date.now(),
      clock_ms: 0,
    });
    await waitFor(
      async () => {
        collector.settle();
        return (await stored(id)).length > 0;
      },
      { what: 'the row' },
    );
    const [log, ...rest] = await readLogs(database.db, id, { limit: 10 });
    expect(rest).to.have.length(0);
    expect(log).to.include({ message: 'oops', exception: 'java.lang.Error: x' });
  });
});
