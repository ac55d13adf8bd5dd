import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { OperationKind } from '#src/domain/operation.js';
import { acceptOperation, type NewOperation } from '#src/db/acceptOperation.js';
import { beginOperation, reportProgress, transitionServer } from '#src/db/carryOperation.js';
import type { Database } from '#src/db/connect.js';
import { cancelOperation, finishOperation } from '#src/db/endOperation.js';
import { findOperation, listOperationEvents, listServerEvents } from '#src/db/operationQueries.js';
import { claimDispatches, markDispatched } from '#src/db/outbox.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import { buildServer, buildUser } from '../build.js';
import { createTestDatabase, type TestDatabase } from '../harness/database.js';
import { rejectionCode } from '../harness/rejection.js';

describe('operations in the database', () => {
  let database: TestDatabase;
  let db: Database;
  let user: string;
  let server: string;

  before(async () => {
    database = await createTestDatabase();
    db = database.db;
    user = (await buildUser(db)).id;
  });
  beforeEach(async () => {
    server = (await buildServer(db, { user_id: user })).id;
  });
  after(() => database.drop());

  const request = (kind: OperationKind, extra: Partial<NewOperation> = {}): NewOperation => ({
    kind,
    serverId: server,
    requestedBy: user,
    trigger: 'user',
    params: {},
    force: false,
    idempotencyKey: null,
    requestHash: 'a'.repeat(64),
    requestId: null,
    ...extra,
  });
  const accept = (kind: OperationKind, extra: Partial<NewOperation> = {}) =>
    acceptOperation(db, request(kind, extra));
  const serverRow = async () => {
    const found = await row<ServerRow>(db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] });
    if (!found) throw new Error('the server is gone');
    return found;
  };
  const stateOf = async (id: string) => (await findOperation(db, id))?.state;

  it('make the first one current and put it into the outbox', async () => {
    const { operation, outbox, replayed } = await accept('server.start', { desiredState: 'running' });
    expect(operation).to.include({
      state: 'accepted',
      kind: 'server.start',
      server_id: server,
      requested_by: user,
    });
    expect(replayed).to.equal(false);
    expect(outbox).to.deep.equal([operation.id]);
    expect(await serverRow()).to.include({
      current_op_id: operation.id,
      desired_state: 'running',
      op_seq: 1,
    });
  });

  it('answer the same key with the same operation, fifty times in parallel', async () => {
    const key = randomUUID();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => accept('server.start', { idempotencyKey: key })),
    );
    expect(new Set(answers.map(answer => answer.operation.id)).size).to.equal(1);
    expect(answers.filter(answer => !answer.replayed)).to.have.length(1);
    expect((await serverRow()).op_seq).to.equal(1);
  });

  it('refuse a key that belongs to another request, and change nothing', async () => {
    const key = randomUUID();
    await accept('server.start', { idempotencyKey: key });
    const other = accept('server.stop', { idempotencyKey: key, requestHash: 'b'.repeat(64) });
    expect(await rejectionCode(other)).to.equal('idempotency-key-reused');
    expect((await serverRow()).op_seq).to.equal(1);
  });

  it('let the same key of two users be two operations', async () => {
    const key = randomUUID();
    const other = (await buildUser(db)).id;
    const first = await accept('server.start', { idempotencyKey: key });
    const second = await accept('server.stop', { idempotencyKey: key, requestedBy: other });
    expect(second.operation.id).not.to.equal(first.operation.id);
  });

  it('end fifty starts in parallel as one that runs and forty-nine that it superseded', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => accept('server.start')));
    const current = (await serverRow()).current_op_id;
    const superseded = answers.filter(answer => answer.operation.state === 'cancelled');
    expect(superseded).to.have.length(49);
    for (const { operation } of superseded) {
      expect(operation.error?.code).to.equal('superseded');
      expect(operation.superseded_by).to.equal(current);
      expect(operation.finished_at).not.to.equal(null);
    }
  });

  it('hand the server to the stop when an unbegun start is preempted', async () => {
    const start = await accept('server.start', { desiredState: 'running' });
    const stop = await accept('server.stop', { desiredState: 'stopped' });
    expect(await stateOf(start.operation.id)).to.equal('cancelled');
    expect(stop.outbox).to.deep.equal([stop.operation.id]);
    expect(await serverRow()).to.include({ current_op_id: stop.operation.id, desired_state: 'stopped' });
  });

  it('tell a begun start to end, and start the stop when it has', async () => {
    const start = await accept('server.start');
    await beginOperation(db, start.operation.id, 'run-1');
    const stop = await accept('server.stop');
    expect(stop.outbox).to.deep.equal([start.operation.id]);
    const told = await findOperation(db, start.operation.id);
    expect(told).to.include({ state: 'running', superseded_by: stop.operation.id });
    expect(told?.cancel_requested_at).not.to.equal(null);
    const ended = await finishOperation(db, start.operation.id, { state: 'cancelled' });
    expect(ended.operation.error?.code).to.equal('superseded');
    expect(ended.outbox).to.deep.equal([stop.operation.id]);
    expect((await serverRow()).current_op_id).to.equal(stop.operation.id);
  });

  it('let a kill take the place of a begun start, which then hands over nothing', async () => {
    const start = await accept('server.start');
    await beginOperation(db, start.operation.id, 'run-1');
    const kill = await accept('server.kill');
    expect(kill.outbox).to.have.members([kill.operation.id, start.operation.id]);
    expect((await finishOperation(db, start.operation.id, { state: 'cancelled' })).outbox).to.deep.equal([]);
    expect((await serverRow()).current_op_id).to.equal(kill.operation.id);
  });

  it('count events without holes, per operation and per server, under contention', async () => {
    await Promise.all(
      Array.from({ length: 30 }, (_, at) =>
        accept(at % 2 ? 'server.start' : 'server.stop').catch(() => null),
      ),
    );
    const events = await listServerEvents(db, server, 0, 1000);
    expect(events.map(event => event.server_seq)).to.deep.equal(events.map((_, at) => at + 1));
    for (const id of new Set(events.map(event => event.operation_id))) {
      const own = await listOperationEvents(db, id, 0, 100);
      expect(own.map(event => event.seq)).to.deep.equal(own.map((_, at) => at + 1));
    }
  });

  it('fence off a late writer', async () => {
    const start = await accept('server.start');
    await beginOperation(db, start.operation.id, 'run-1');
    const move = { operationId: start.operation.id, step: 1, event: 'startRequested' as const };
    expect(await transitionServer(db, move)).to.include({ status: 'starting' });
    expect(await transitionServer(db, move)).to.include({ status: 'starting' });
    const kill = await accept('server.kill');
    await beginOperation(db, kill.operation.id, 'run-2');
    await transitionServer(db, { operationId: kill.operation.id, step: 1, event: 'killed' });
    const late = transitionServer(db, { operationId: start.operation.id, step: 2, event: 'ready' });
    expect(await rejectionCode(late)).to.equal('stale-write');
    expect((await serverRow()).status).to.equal('stopped');
  });

  it('end once: a second end changes nothing and adds no event', async () => {
    const { operation } = await accept('server.start');
    await finishOperation(db, operation.id, { state: 'succeeded' });
    const again = await finishOperation(db, operation.id, {
      state: 'failed',
      error: { code: 'internal', detail: 'late' },
    });
    expect(again.operation).to.include({ state: 'succeeded', error: null });
    const ends = (await listOperationEvents(db, operation.id, 0, 100)).filter(
      event => event.type !== 'accepted',
    );
    expect(ends.map(event => event.type)).to.deep.equal(['succeeded']);
  });

  it('are not begun twice by two runs, nor once they have ended', async () => {
    const { operation } = await accept('server.start');
    expect((await beginOperation(db, operation.id, 'run-1')).begun).to.equal(true);
    expect((await beginOperation(db, operation.id, 'run-1')).begun).to.equal(true);
    expect((await beginOperation(db, operation.id, 'run-2')).begun).to.equal(false);
    await finishOperation(db, operation.id, { state: 'succeeded' });
    expect((await beginOperation(db, operation.id, 'run-1')).begun).to.equal(false);
  });

  it('are cancelled without Temporal while nothing has begun', async () => {
    const { operation } = await accept('server.start');
    const { operation: cancelled } = await cancelOperation(db, operation.id);
    expect(cancelled).to.include({ state: 'cancelled' });
    expect(cancelled.error?.code).to.equal('cancelled');
    expect((await serverRow()).current_op_id).to.equal(null);
    expect(await rejectionCode(cancelOperation(db, operation.id))).to.equal('operation-finished');
  });

  it('keep a cancel in the outbox that came while the start was being marked as sent', async () => {
    const { operation } = await accept('server.start');
    await row(
      db,
      `UPDATE operations SET dispatch_after = now() - interval '1 second' WHERE id = $1 RETURNING id`,
      {
        bind: [operation.id],
      },
    );
    const claim = (await claimDispatches(db, 100)).find(one => one.id === operation.id);
    if (!claim) throw new Error('the row was not due');
    await beginOperation(db, operation.id, 'run-1');
    await cancelOperation(db, operation.id);
    await markDispatched(db, claim);
    const left = await row<{ due: boolean }>(
      db,
      'SELECT dispatch_after IS NOT NULL AS due FROM operations WHERE id = $1',
      { bind: [operation.id] },
    );
    expect(left?.due).to.equal(true);
  });

  it('show progress only while they run', async () => {
    const { operation } = await accept('server.provision');
    const progress = { phase: 'download', percent: 5, message: '', bytes_done: 5, bytes_total: 100 };
    await reportProgress(db, operation.id, 'p:5', progress);
    expect((await findOperation(db, operation.id))?.progress).to.equal(null);
    await beginOperation(db, operation.id, 'run-1');
    await reportProgress(db, operation.id, 'p:5', progress);
    await reportProgress(db, operation.id, 'p:5', progress);
    expect((await findOperation(db, operation.id))?.progress).to.deep.equal(progress);
    const events = await listOperationEvents(db, operation.id, 0, 100);
    expect(events.filter(event => event.type === 'progressed')).to.have.length(1);
  });

  it('delete the server’s row with the last event, and outlive it', async () => {
    const { operation } = await accept('server.delete');
    await beginOperation(db, operation.id, 'run-1');
    await finishOperation(db, operation.id, { state: 'succeeded', deleteServer: true });
    expect(await row(db, 'SELECT id FROM servers WHERE id = $1', { bind: [server] })).to.equal(undefined);
    const events = await listServerEvents(db, server, 0, 100);
    expect(events.at(-1)?.type).to.equal('succeeded');
  });

  it('refuse an unknown server and leave no row behind', async () => {
    const before = await row<{ n: number }>(db, 'SELECT count(*)::int AS n FROM operations');
    expect(await rejectionCode(accept('server.start', { serverId: randomUUID() }))).to.equal('not-found');
    expect(await row<{ n: number }>(db, 'SELECT count(*)::int AS n FROM operations')).to.deep.equal(before);
  });

  it('insert what a create prepares, once per key', async () => {
    const key = randomUUID();
    let prepared = 0;
    const create = () => {
      const id = randomUUID();
      return accept('server.provision', {
        serverId: id,
        idempotencyKey: key,
        prepare: async transaction => {
          prepared += 1;
          const agent = (await serverRow()).agent_id;
          await db.models.Server.create(
            { id, agent_id: agent, user_id: user, name: 'x', server_type: 'vanilla', version: '1' },
            { transaction },
          );
        },
      });
    };
    const [first, second] = [await create(), await create()];
    expect(second.operation.server_id).to.equal(first.operation.server_id);
    expect(prepared).to.equal(1);
  });
});
