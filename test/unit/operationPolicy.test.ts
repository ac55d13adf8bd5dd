import { expect } from 'chai';
import fc from 'fast-check';
import { OPERATION_KINDS, type OperationKind } from '#src/domain/operation.js';
import {
  desiredStateAfter,
  MAX_QUEUED,
  resolve,
  type PendingOperation,
} from '#src/domain/operationPolicy.js';

function pending(
  ...kinds: (OperationKind | [OperationKind, Partial<PendingOperation>])[]
): PendingOperation[] {
  return kinds.map((entry, at) => {
    const [kind, extra] = typeof entry === 'string' ? [entry, {}] : entry;
    return { id: `op${at + 1}`, kind, cancelling: false, needsOperator: false, ...extra };
  });
}

const incoming = (kind: OperationKind, force = false) => ({ kind, force });

describe('the policy of operations', () => {
  const table: [string, PendingOperation[], ReturnType<typeof incoming>, object][] = [
    ['an idle server runs it', [], incoming('server.start'), { action: 'run', cancel: null, supersede: [] }],
    [
      'a stop preempts a start',
      pending('server.start'),
      incoming('server.stop'),
      { action: 'queue', cancel: 'op1', supersede: [] },
    ],
    [
      'a stop preempts a restart',
      pending('server.restart'),
      incoming('server.stop'),
      { action: 'queue', cancel: 'op1', supersede: [] },
    ],
    [
      'a start joins a start',
      pending('server.start'),
      incoming('server.start'),
      { action: 'coalesce', into: 'op1', supersede: [] },
    ],
    [
      'a restart joins a start',
      pending('server.start'),
      incoming('server.restart'),
      { action: 'coalesce', into: 'op1', supersede: [] },
    ],
    [
      'a start waits for a stop',
      pending('server.stop'),
      incoming('server.start'),
      { action: 'queue', cancel: null, supersede: [] },
    ],
    [
      'a start does not join one that is being cancelled',
      pending(['server.start', { cancelling: true }]),
      incoming('server.start'),
      { action: 'queue', cancel: null, supersede: [] },
    ],
    [
      'a stop withdraws the start that waits and joins the stop before it',
      pending('server.stop', 'server.start'),
      incoming('server.stop'),
      { action: 'coalesce', into: 'op1', supersede: ['op2'] },
    ],
    [
      'a kill takes the place of a start and withdraws what waits for power',
      pending('server.start', 'server.stop', 'backup.create'),
      incoming('server.kill'),
      { action: 'run', cancel: 'op1', supersede: ['op2'] },
    ],
    ['a kill goes beside a backup', pending('backup.create'), incoming('server.kill'), { action: 'beside' }],
    [
      'a kill gets through to a server that waits for an operator',
      pending(['server.start', { needsOperator: true }]),
      incoming('server.kill'),
      { action: 'beside' },
    ],
    [
      'a start is refused while an operator is waited for',
      pending(['server.start', { needsOperator: true }]),
      incoming('server.start'),
      { action: 'refuse', code: 'needs-operator' },
    ],
    [
      'a stop waits for a backup',
      pending('backup.create'),
      incoming('server.stop'),
      { action: 'queue', cancel: null, supersede: [] },
    ],
    [
      'a forced stop preempts a backup',
      pending('backup.create'),
      incoming('server.stop', true),
      { action: 'queue', cancel: 'op1', supersede: [] },
    ],
    [
      'a delete withdraws everything and preempts a provision',
      pending('server.provision', 'server.start'),
      incoming('server.delete'),
      { action: 'queue', cancel: 'op1', supersede: ['op2'] },
    ],
    [
      'nothing comes after a delete',
      pending('server.stop', 'server.delete'),
      incoming('server.start'),
      { action: 'refuse', code: 'server-deleting' },
    ],
    [
      'a second delete joins the first',
      pending('server.delete'),
      incoming('server.delete'),
      { action: 'coalesce', into: 'op1', supersede: [] },
    ],
    [
      'two backups are two backups',
      pending('backup.create'),
      incoming('backup.create'),
      { action: 'queue', cancel: null, supersede: [] },
    ],
  ];
  for (const [name, before, request, expected] of table) {
    it(name, () => expect(resolve(before, request)).to.deep.equal(expected));
  }

  it('refuses more than twenty that wait', () => {
    const full = pending('server.restart', ...Array<OperationKind>(MAX_QUEUED).fill('backup.create'));
    expect(resolve(full, incoming('backup.create'))).to.deep.equal({ action: 'refuse', code: 'queue-full' });
  });

  const anyKind = fc.constantFrom(...OPERATION_KINDS);
  const anyPending = fc
    .array(fc.tuple(anyKind, fc.boolean()), { maxLength: 25 })
    .map(entries =>
      pending(
        ...entries.map(([kind, cancelling]): [OperationKind, Partial<PendingOperation>] => [
          kind,
          { cancelling },
        ]),
      ),
    );

  it('is total, and only ever names operations that are pending', () => {
    fc.assert(
      fc.property(anyPending, anyKind, fc.boolean(), (before, kind, force) => {
        const answer = resolve(before, { kind, force });
        const ids = new Set(before.map(op => op.id));
        const named = [
          ...('supersede' in answer ? answer.supersede : []),
          ...('cancel' in answer && answer.cancel !== null ? [answer.cancel] : []),
          ...('into' in answer ? [answer.into] : []),
        ];
        expect(named.every(id => ids.has(id))).to.equal(true);
        if ('supersede' in answer) expect(answer.supersede).not.to.include(before[0]?.id);
      }),
    );
  });

  it('never makes a kill wait', () => {
    fc.assert(
      fc.property(anyPending, before => {
        expect(resolve(before, incoming('server.kill')).action).not.to.equal('queue');
      }),
    );
  });

  it('keeps the queue bounded whatever arrives', () => {
    fc.assert(
      fc.property(fc.array(anyKind, { maxLength: 200 }), kinds => {
        let queue: PendingOperation[] = [];
        kinds.forEach((kind, at) => {
          const answer = resolve(queue, incoming(kind));
          if ('supersede' in answer) queue = queue.filter(op => !answer.supersede.includes(op.id));
          if (answer.action === 'queue' || (answer.action === 'run' && queue.length === 0)) {
            queue.push({ id: `n${at}`, kind, cancelling: false, needsOperator: false });
          }
          expect(queue.length).to.be.at.most(MAX_QUEUED + 1);
        });
      }),
    );
  });

  it('follows the wishes of people and not those of the system', () => {
    expect(desiredStateAfter('server.restart', 'user')).to.equal('running');
    expect(desiredStateAfter('server.kill', 'user')).to.equal('stopped');
    expect(desiredStateAfter('server.start', 'reconcile')).to.equal(undefined);
    expect(desiredStateAfter('backup.create', 'user')).to.equal(undefined);
  });
});
