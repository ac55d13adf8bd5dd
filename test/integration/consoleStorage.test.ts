import { expect } from 'chai';
import {
  findLogGap,
  readLogHeads,
  readLogs,
  readPositions,
  storeConsole,
  type ConsolePiece,
} from '#src/db/consoleStorage.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { buildServer } from '../build.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';

describe('console storage', () => {
  let database: TestDatabase;
  let serverId: string;
  let agentId: string;

  before(async () => {
    database = await createTestDatabase();
  });
  beforeEach(async () => {
    ({ id: serverId, agent_id: agentId } = await buildServer(database.db));
  });
  after(() => database.drop());

  const piece = (from: number, to: number, lines: readonly string[], run_id = 'r1'): ConsolePiece => ({
    server_id: serverId,
    run_id,
    from,
    to,
    at_ms: Date.now(),
    entries: joinEntries(lines),
  });
  const messages = async (query: Partial<Parameters<typeof readLogs>[2]> = {}) =>
    (await readLogs(database.db, serverId, { limit: 100, ...query })).map(log => log.message);

  it('stores a piece once, however often and by however many it is tried', async () => {
    const tried = await Promise.all(
      Array.from({ length: 8 }, () => storeConsole(database.db, piece(0, 10, ['a', 'b']))),
    );
    expect(tried.filter(result => result.outcome === 'stored')).to.have.length(1);
    expect(await storeConsole(database.db, piece(0, 10, ['a', 'b']))).to.deep.equal({
      outcome: 'elsewhere',
      byte_offset: 10,
    });
    expect(await messages()).to.deep.equal(['a', 'b']);
  });

  it('keeps the order across pieces, runs and clocks that go back', async () => {
    await storeConsole(database.db, piece(0, 10, ['a', 'b']));
    await storeConsole(database.db, { ...piece(10, 20, ['c']), at_ms: Date.now() - 60_000 });
    await storeConsole(database.db, { ...piece(0, 5, ['d'], 'r2'), at_ms: 0 });
    expect(await messages()).to.deep.equal(['a', 'b', 'c', 'd']);
    expect((await readPositions(database.db, agentId)).get(serverId)).to.deep.equal({
      run_id: 'r2',
      byte_offset: 5,
    });
  });

  it('dates entries by their own times, within an hour of now and after what is stored', async () => {
    const now = Date.now();
    const dated = (from: number, ...ages: number[]): ConsolePiece => {
      const undated = piece(from, from + 10, ages.map(String));
      const entries = undated.entries.map((entry, at) => ({ ...entry, at_ms: now - (ages[at] ?? 0) }));
      return { ...undated, entries };
    };
    await storeConsole(database.db, dated(0, 7_200_000, 1_800_000, 1_800_000, 60_000));
    await storeConsole(database.db, dated(10, 1_000_000, 0));
    const logs = await readLogs(database.db, serverId, { limit: 100 });
    expect(logs.map(({ message }) => Number(message))).to.deep.equal([
      7_200_000, 1_800_000, 1_800_000, 60_000, 1_000_000, 0,
    ]);
    const ages = logs.map(({ timestamp }) => Math.round((now - timestamp.getTime()) / 60_000));
    expect(ages).to.deep.equal([60, 30, 30, 1, 1, 0]);
    const heads = await readLogHeads(database.db, [serverId]);
    expect(heads.get(serverId)).to.equal(logs.at(-1)?.place);
  });

  it('pages by place, in both directions', async () => {
    await storeConsole(database.db, piece(0, 10, ['a', 'b', 'c', 'd', 'e']));
    const [first] = await readLogs(database.db, serverId, { limit: 2 });
    expect(first?.message).to.equal('d');
    expect(await messages({ before: first?.place ?? 0, limit: 2 })).to.deep.equal(['b', 'c']);
    expect(await messages({ after: first?.place ?? 0 })).to.deep.equal(['e']);
    const [last] = await readLogs(database.db, serverId, { limit: 1 });
    expect((await readLogHeads(database.db, [serverId])).get(serverId)).to.equal(last?.place);
  });

  it('tells what lies between a place and the newest lines', async () => {
    await storeConsole(database.db, piece(0, 10, ['a', 'b', 'c', 'd', 'e', 'f']));
    const [first] = await readLogs(database.db, serverId, { limit: 6 });
    const gap = (unless: number) =>
      findLogGap(database.db, serverId, { after: first?.place ?? 0, keep: 2, unless });
    const found = await gap(4);
    expect(found?.dropped).to.equal(3);
    expect(await messages({ after: found?.end ?? 0 })).to.deep.equal(['e', 'f']);
    expect(await gap(5)).to.equal(null);
  });

  it('finds text and levels, and takes wildcards for text', async () => {
    await storeConsole(
      database.db,
      piece(0, 10, ['[12:00:00 WARN]: 100% Full', '[12:00:00 INFO]: 100 full']),
    );
    expect(await messages({ text: '100% full' })).to.deep.equal(['100% Full']);
    expect(await messages({ level: 'INFO' })).to.deep.equal(['100 full']);
  });

  it('takes whatever a console may print', async () => {
    await storeConsole(database.db, piece(0, 10, ['nul \0 here', '"\\u0000"', '😀 \ud800', "it's $1"]));
    expect(await messages()).to.have.length(4);
  });

  it('says that a server is gone', async () => {
    const gone = { ...piece(0, 1, ['a']), server_id: '00000000-0000-4000-8000-000000000000' };
    expect(await storeConsole(database.db, gone)).to.deep.equal({ outcome: 'gone' });
  });
});
