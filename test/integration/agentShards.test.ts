import { expect } from 'chai';
import { listAgents, listAgentsOfShard } from '#src/db/reconciliation.js';
import { buildAgent } from '#test/build.js';
import { createTestDatabase, type TestDatabase } from '#test/harness/database.js';

describe('shards of agents', function () {
  this.timeout(20_000);
  let database: TestDatabase;
  before(async () => {
    database = await createTestDatabase();
    for (let n = 0; n < 7; n += 1) await buildAgent(database.db);
  });
  after(() => database.drop());

  const shards = async (): Promise<string[][]> => {
    const pages = [0, 1, 2, 3].map(shard => listAgentsOfShard(database.db, shard, 3));
    return (await Promise.all(pages)).map(agents => agents.map(({ id }) => id));
  };

  it('hold every agent once, and no more than they may', async () => {
    const all = (await listAgents(database.db)).map(({ id }) => id);
    const pages = await shards();
    expect(pages.map(({ length }) => length)).to.deep.equal([3, 3, 1, 0]);
    expect(pages.flat()).to.have.members(all);
  });

  it('keep their agents when others come, and hand on one each when one goes', async () => {
    const before = await shards();
    const { id: newcomer } = await buildAgent(database.db);
    expect((await shards()).flat()).to.deep.equal([...before.flat(), newcomer]);
    const [gone = ''] = before[0] ?? [];
    await database.db.models.Agent.destroy({ where: { id: gone } });
    expect((await shards()).flat()).to.deep.equal([...before.flat().slice(1), newcomer]);
  });
});
