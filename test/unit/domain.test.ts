import { expect } from 'chai';
import fc from 'fast-check';
import { parseConsoleLine, type ParsedLine } from '#src/domain/consoleLine.js';
import { splitArguments } from '#src/domain/javaArguments.js';
import { can, PERMISSIONS, ROLES, type ServerAction } from '#src/domain/permissions.js';
import { nextStatus, SERVER_EVENTS, SERVER_STATUSES } from '#src/domain/serverState.js';

describe('server states', () => {
  it('answer every event in every state', () => {
    for (const status of SERVER_STATUSES) {
      for (const event of SERVER_EVENTS) expect(SERVER_STATUSES).to.include(nextStatus(status, event));
    }
  });

  it('do not show a running server as starting, nor a stopped one as stopping', () => {
    expect(nextStatus('running', 'startRequested')).to.equal('running');
    expect(nextStatus('stopped', 'stopRequested')).to.equal('stopped');
  });
});

describe('permissions', () => {
  const actions: ServerAction[] = [...PERMISSIONS, 'view', 'own'];

  it('let admins and owners do all, and strangers nothing', () => {
    for (const action of actions) {
      expect(can({ id: 'a', role: 'admin' }, action, { owner_id: 'o', member: null })).to.equal(true);
      expect(can({ id: 'o', role: 'user' }, action, { owner_id: 'o', member: null })).to.equal(true);
      expect(can({ id: 's', role: 'user' }, action, { owner_id: 'o', member: null })).to.equal(false);
    }
  });

  it('give members what they were given, and the view', () => {
    const server = { owner_id: 'o', member: ['power'] as const };
    const allowed = actions.filter(action => can({ id: 'm', role: 'user' }, action, server));
    expect(allowed).to.have.members(['power', 'view']);
  });

  it('cap viewers at reading, whatever they were given', () => {
    const server = { owner_id: 'o', member: PERMISSIONS };
    const allowed = actions.filter(action => can({ id: 'm', role: 'viewer' }, action, server));
    expect(allowed).to.have.members(['console.read', 'view']);
  });

  it('never give a member the owner’s rights', () => {
    for (const role of ROLES.filter(name => name !== 'admin')) {
      expect(can({ id: 'm', role }, 'own', { owner_id: 'o', member: PERMISSIONS })).to.equal(false);
    }
  });
});

describe('java arguments', () => {
  it('are split as people mean them', () => {
    expect(splitArguments(`-Xss4M  "-Dname=a b" -Dx='c "d"' -De=\\"f -Dg=`)).to.deep.equal([
      '-Xss4M',
      '-Dname=a b',
      '-Dx=c "d"',
      '-De="f',
      '-Dg=',
    ]);
    expect(splitArguments('  ')).to.deep.equal([]);
    expect(splitArguments(`-Da='' ''`)).to.deep.equal(['-Da=', '']);
  });

  it('expand nothing', () => {
    expect(splitArguments('-Da=$HOME;rm `id` $(id) *')).to.deep.equal(['-Da=$HOME;rm', '`id`', '$(id)', '*']);
  });

  it('come back from quoting unchanged', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1 })), args => {
        const text = args.map(arg => `"${arg.replace(/[\\"]/g, '\\$&')}"`).join(' ');
        expect(splitArguments(text)).to.deep.equal(args);
      }),
    );
  });
});

describe('console lines', () => {
  const shapes: [name: string, line: string, expected: Omit<ParsedLine, 'prefixed' | 'clock_ms'>][] = [
    [
      'vanilla',
      '[12:34:56] [Server thread/INFO]: ann joined the game',
      { level: 'INFO', source: 'Server thread', message: 'ann joined the game' },
    ],
    ['Paper', '[12:34:56 WARN]: Can’t keep up!', { level: 'WARN', source: '', message: 'Can’t keep up!' }],
    [
      'Forge',
      '[24Nov2026 04:29:23.120] [Server thread/ERROR] [minecraft/DedicatedServer/]: no',
      { level: 'ERROR', source: 'minecraft/DedicatedServer/', message: 'no' },
    ],
    [
      'a line in colours',
      '\u001b[33m[12:34:56 WARN]: hot\u001b[m',
      { level: 'WARN', source: '', message: 'hot' },
    ],
    [
      'a JVM warning',
      'WARNING: sun.misc.Unsafe',
      { level: 'INFO', source: '', message: 'WARNING: sun.misc.Unsafe' },
    ],
    [
      'a chat line that quotes a prefix',
      '[12:34:56] [Server thread/INFO]: <eve> [12:00:00] [Server thread/ERROR]: gone',
      { level: 'INFO', source: 'Server thread', message: '<eve> [12:00:00] [Server thread/ERROR]: gone' },
    ],
  ];
  for (const [name, line, expected] of shapes) {
    it(`understand ${name}`, () => expect(parseConsoleLine(line)).to.include(expected));
  }
});
