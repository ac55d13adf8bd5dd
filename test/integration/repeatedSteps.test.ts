import { expect } from 'chai';
import { acceptOperation } from '#src/db/acceptOperation.js';
import { beginOperation, noteUndone, transitionServer } from '#src/db/carryOperation.js';
import type { Database } from '#src/db/connect.js';
import { finishOperation, type Ending } from '#src/db/endOperation.js';
import { findOperation, listOperationEvents } from '#src/db/operationQueries.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import type { OperationKind } from '#src/domain/operation.js';
import type { ServerEvent } from '#src/domain/serverState.js';
import { buildServer } from '../build.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';
import { rejectionCode } from '../harness/rejection.js';

/** What Temporal does when a worker dies after some local activities and before it could report them. */
describe('database steps whose record was lost', () => {
  let database: TestDatabase;
  let db: Database;
  let server: string;

  before(async () => {
    database = await createTestDatabase();
    db = database.db;
  });
  beforeEach(async () => {
    server = (await buildServer(db)).id;
  });
  after(() => database.drop());

  async function begin(kind: OperationKind): Promise<string> {
    const { operation } = await acceptOperation(db, {
      kind,
      serverId: server,
      requestedBy: null,
      trigger: 'user',
      params: {},
      force: false,
      idempotencyKey: null,
      requestHash: '0'.repeat(64),
      requestId: null,
    });
    await beginOperation(db, operation.id, `run of ${operation.id}`);
    return operation.id;
  }

  const move = (operationId: string, step: number, event: ServerEvent) =>
    transitionServer(db, { operationId, step, event });
  const serverRow = () =>
    row<ServerRow>(db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] }).then(
      found => found ?? null,
    );
  const eventsOf = async (id: string) => (await listOperationEvents(db, id, 0, 100)).map(({ type }) => type);

  /** Does the steps twice; answers the events of both times, which must be those of one. */
  async function twice(id: string, steps: () => Promise<unknown>): Promise<void> {
    await steps();
    const once = { events: await eventsOf(id), server: await serverRow(), end: await findOperation(db, id) };
    await steps();
    expect(await eventsOf(id)).to.deep.equal(once.events);
    expect(await serverRow()).to.deep.equal(once.server);
    expect(await findOperation(db, id)).to.deep.equal(once.end);
  }

  it('of a start that has ended well are done again without effect', async () => {
    const id = await begin('server.start');
    await move(id, 1, 'startRequested');
    await twice(id, async () => {
      await move(id, 2, 'ready');
      await finishOperation(db, id, { state: 'succeeded' });
    });
    expect(await serverRow()).to.include({ status: 'running', current_op_id: null });
  });

  it('of a failed operation, too: its workflow comes to its end instead of waiting for an operator', async () => {
    const id = await begin('server.start');
    await move(id, 1, 'startRequested');
    const failure: Ending = { state: 'failed', error: { code: 'start-failed', detail: 'no' } };
    await twice(id, async () => {
      await move(id, 2, 'startFailed');
      await finishOperation(db, id, failure);
    });
  });

  it('of a kill beside an operation that goes on take nobody’s turn, and undo nothing of what came after', async () => {
    const upgrade = await begin('server.upgrade');
    await move(upgrade, 1, 'startRequested');
    const kill = await begin('server.kill');
    await move(kill, 1, 'killed');
    expect(await serverRow()).to.include({ status: 'stopped', current_op_id: upgrade });
    await move(upgrade, 2, 'ready');
    await move(kill, 1, 'killed');
    expect(await serverRow()).to.include({ status: 'running' });
    await finishOperation(db, kill, { state: 'succeeded' });
    await move(upgrade, 3, 'stopped');
    expect(await serverRow()).to.include({ status: 'stopped', current_op_id: upgrade });
  });

  it('and of one that was undone', async () => {
    const id = await begin('server.start');
    await move(id, 1, 'startRequested');
    await twice(id, async () => {
      await move(id, 2, 'stopped');
      await noteUndone(db, id, 'start');
      await finishOperation(db, id, { state: 'compensated' });
    });
  });

  it('may be several in a row', async () => {
    const start = await begin('server.start');
    await move(start, 1, 'startRequested');
    await move(start, 2, 'ready');
    await finishOperation(db, start, { state: 'succeeded' });
    const id = await begin('server.restart');
    await move(id, 1, 'stopRequested');
    await twice(id, async () => {
      await move(id, 2, 'stopped');
      await move(id, 3, 'startRequested');
    });
    expect(await serverRow()).to.include({ status: 'starting' });
  });

  it('may be the last of a server that is gone since', async () => {
    const id = await begin('server.delete');
    await move(id, 1, 'stopRequested');
    await twice(id, async () => {
      await move(id, 2, 'stopped');
      await finishOperation(db, id, { state: 'succeeded', deleteServer: true });
    });
    expect(await serverRow()).to.equal(null);
  });

  it('don’t touch what the next operation has done meanwhile', async () => {
    const id = await begin('server.start');
    await move(id, 1, 'startRequested');
    await move(id, 2, 'ready');
    await finishOperation(db, id, { state: 'succeeded' });
    await move(await begin('server.stop'), 1, 'stopRequested');
    await move(id, 2, 'ready');
    await finishOperation(db, id, { state: 'succeeded' });
    expect(await serverRow()).to.include({ status: 'stopping' });
  });

  it('are refused when the operation was closed from outside, for its workflow to stop', async () => {
    const id = await begin('server.start');
    await finishOperation(db, id, { state: 'failed', error: { code: 'lost-workflow', detail: 'gone' } });
    expect(await rejectionCode(move(id, 1, 'startRequested'))).to.equal('stale-write');
  });
});
