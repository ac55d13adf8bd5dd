import { expect } from 'chai';
import { ConsoleCollector } from '#activities/consoleCollector.js';
import { createBus } from '#src/bus/createBus.js';
import type { Bus } from '#src/bus/bus.js';
import type { ConsolePosition } from '#src/db/consoleStorage.js';
import { rows } from '#src/db/sql.js';
import type { NotificationRow } from '#src/db/types.js';
import { buildServer } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';
import { silent } from '#test/harness/realtimeServer.js';
import { waitFor } from '#test/harness/waitFor.js';

const MEMORY = 'Exception in thread "Server thread" java.lang.OutOfMemoryError: Java heap space';
const LAG =
  "[12:00:00] [Server thread/WARN]: Can't keep up! Is the server overloaded? Running 2500ms or 50 ticks behind";

describe('alerts of what a console says', function () {
  this.timeout(20_000);
  let database: TestDatabase;
  let bus: Bus;
  let collector: ConsoleCollector;
  let failures: number;
  const poked: string[] = [];

  before(async () => {
    database = await createTestDatabase();
    bus = createBus({ redisUrl: undefined, logger: silent });
    bus.subscribe('notifications', ({ user_id }) => poked.push(user_id));
  });
  const open = (known: ReadonlyMap<string, ConsolePosition> = new Map()) =>
    new ConsoleCollector({ db: database.db, bus }, known, () => void (failures += 1));
  beforeEach(() => {
    failures = 0;
    collector = open();
  });
  afterEach(() => collector.close());
  after(async () => {
    await bus.close();
    await database.drop();
  });

  /** Has a run print that and more, and waits until it is stored. Answers how far the run is. */
  async function print(id: string, run_id: string, lines: string[], offset = 0, at_ms = Date.now()) {
    const printed = [...lines, `[12:00:00] [Server thread/INFO]: end of ${run_id} ${offset}`];
    const nextOffset = offset + printed.join('\n').length + 1;
    const piece = { runId: run_id, offset, nextOffset, lines: printed, droppedBytes: 0 };
    collector.add(id, piece, { at_ms, clock_ms: at_ms % 86_400_000 });
    collector.settle();
    const stored = async () =>
      (
        await rows(database.db, 'SELECT 1 FROM logs WHERE server_id = $1 AND message = $2', {
          bind: [id, `end of ${run_id} ${offset}`],
        })
      ).length > 0;
    await waitFor(stored, { what: 'the lines' });
    return nextOffset;
  }
  const told = (id: string) =>
    rows<NotificationRow>(database.db, 'SELECT * FROM notifications WHERE server_id = $1 ORDER BY seq', {
      bind: [id],
    });
  const areTold = (id: string, count: number) =>
    waitFor(async () => (await told(id)).length === count, { what: `${count} alerts` });

  it('are raised once for a run and cause, with the lines and what to do', async () => {
    const server = await buildServer(database.db, { display_name: 'Lobby' });
    const next = await print(server.id, 'r1', [MEMORY]);
    await areTold(server.id, 1);
    const [alert] = await told(server.id);
    expect(alert).to.include({ type: 'alert', severity: 'critical', title: 'Lobby has run out of memory' });
    expect(alert?.data).to.deep.include({ code: 'out-of-memory', run_id: 'r1', evidence: [MEMORY] });
    expect(alert?.body).to.include('memory_max');
    await waitFor(() => poked.includes(server.user_id), { what: 'the poke' });

    await print(server.id, 'r1', [MEMORY], next);
    await collector.close();
    collector = open();
    await print(server.id, 'r2', [MEMORY]);
    await areTold(server.id, 2);
    await collector.close();
    expect((await told(server.id)).map(({ data }) => data['run_id'])).to.deep.equal(['r1', 'r2']);
    expect(failures).to.equal(0);
  });

  it('tell nobody twice after the stream was opened anew', async () => {
    const { id } = await buildServer(database.db);
    const byte_offset = await print(id, 'r1', [MEMORY]);
    await areTold(id, 1);
    await collector.close();
    collector = open(new Map([[id, { run_id: 'r1', byte_offset }]]));
    await print(id, 'r1', [MEMORY], byte_offset);
    await collector.close();
    expect(await told(id)).to.have.length(1);
  });

  it('tell of a server that cannot keep up when that lasts', async () => {
    const { id } = await buildServer(database.db);
    const now = Date.now();
    let at = await print(id, 'r1', [LAG, LAG, LAG, LAG], 0, now - 30 * 60_000);
    at = await print(id, 'r1', [LAG, LAG, LAG, LAG], at, now - 60_000);
    expect(await told(id)).to.deep.equal([]);
    await print(id, 'r1', [LAG], at, now);
    await areTold(id, 1);
  });

  it('are ten an hour for a server at most', async () => {
    const { id } = await buildServer(database.db);
    for (let run = 1; run <= 12; run++) await print(id, `r${run}`, [MEMORY]);
    await areTold(id, 10);
    await collector.close();
    expect(await told(id)).to.have.length(10);
  });

  it('are never raised by chat', async () => {
    const { id } = await buildServer(database.db);
    await print(id, 'r1', [`[12:00:00] [Server thread/INFO]: <Mallory> ${MEMORY}`]);
    await collector.close();
    expect(await told(id)).to.deep.equal([]);
  });
});
