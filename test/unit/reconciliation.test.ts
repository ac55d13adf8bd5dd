import { expect } from 'chai';
import fc from 'fast-check';
import {
  CRASH_BUDGET,
  CRASH_WINDOW_MS,
  crashCodeOf,
  isServersFault,
  planRestart,
  restartsAfter,
  type CrashCount,
} from '#src/domain/crash.js';
import {
  correctionFor,
  type BelievedServer,
  type Correction,
  type ObservedServer,
} from '#src/domain/reconciliation.js';
import { DESIRED_STATES, SERVER_STATUSES } from '#src/domain/serverState.js';

describe('what is corrected', () => {
  const runs: BelievedServer = {
    status: 'running',
    desired_state: 'running',
    installed: true,
    accept_eula: true,
    restart_after: null,
  };
  const down: BelievedServer = { ...runs, status: 'stopped', desired_state: 'stopped' };
  const saw = (process: ObservedServer['process'], exitCode: number | null = null) => ({ process, exitCode });
  const crash = { kind: 'server.stop', isCrash: true } as const;

  const cases: [
    what: string,
    believed: BelievedServer,
    observed: ObservedServer,
    correction: Partial<Correction> | null,
  ][] = [
    ['runs and shall', runs, saw('running'), null],
    ['is down and shall be', down, saw('stopped', 0), null],
    ['crashed, as we know', { ...runs, status: 'error' }, saw('crashed', 1), null],
    ['is on its way up', { ...runs, status: 'starting' }, saw('starting'), null],
    ['is on its way down', { ...runs, status: 'stopping' }, saw('stopping'), null],

    ['crashed', runs, saw('crashed', 1), crash],
    ['crashed while it started', { ...runs, status: 'starting' }, saw('crashed', 1), crash],
    ['was ended by a signal from its host', runs, saw('crashed', 143), crash],
    ['ended unseen', runs, saw('crashed'), crash],
    ['is not known to its agent', runs, saw('stopped'), crash],
    [
      'went down with its host',
      { ...runs, restart_after: new Date(0) },
      saw('crashed'),
      { kind: 'server.stop', isCrash: false, reason: 'Its host went down while it ran' },
    ],

    [
      'was stopped on its console',
      runs,
      saw('stopped', 0),
      { kind: 'server.stop', desiredState: 'stopped', isCrash: false },
    ],
    [
      'was told to leave by a signal',
      runs,
      saw('stopped', 143),
      { kind: 'server.stop', desiredState: 'stopped', isCrash: false },
    ],
    ['left with 0 after a crash report', runs, saw('crashed', 0), crash],
    [
      'was being restarted when its workflow was lost',
      { ...runs, status: 'stopping' },
      saw('stopped', 143),
      { kind: 'server.start', isCrash: false },
    ],
    [
      'has ended, and should',
      { ...down, status: 'stopping' },
      saw('stopped', 0),
      { kind: 'server.stop', isCrash: false },
    ],
    ['crashed, but was to stop', { ...down, status: 'stopping' }, saw('crashed', 1), { isCrash: false }],
    ['runs, as we don’t know', { ...runs, status: 'starting' }, saw('running'), { kind: 'server.start' }],
    ['runs and should not', down, saw('running'), { kind: 'server.stop' }],
    ['starts and should not', down, saw('starting'), { kind: 'server.stop' }],
  ];
  for (const [what, believed, observed, correction] of cases) {
    it(`of a server that ${what}`, () => {
      if (correction === null) expect(correctionFor(believed, observed)).to.equal(null);
      else expect(correctionFor(believed, observed)).to.include(correction);
    });
  }

  it('takes an end by the lease for neither a crash nor a wish, and starts again what may run again', () => {
    for (const exitCode of [0, 137, null]) {
      const over = { ...saw('stopped', exitCode), lease: 'over' } as const;
      const back = { ...over, lease: 'back' } as const;
      const noted = correctionFor(runs, over);
      expect(noted).to.include({ kind: 'server.stop', isCrash: false });
      expect(noted?.desiredState).to.equal(undefined);
      const ended: BelievedServer = { ...runs, status: 'stopped' };
      expect(correctionFor(ended, over), 'noted already').to.equal(null);
      for (const server of [runs, ended]) {
        expect(correctionFor(server, back)).to.include({ kind: 'server.start', isCrash: false });
      }
      expect(correctionFor(down, back)).to.equal(null);
      expect(correctionFor({ ...ended, status: 'error' }, back)).to.equal(null);
      expect(correctionFor({ ...ended, accept_eula: false }, back)).to.equal(null);
    }
  });

  it('never takes for a crash what nobody wanted to run', () => {
    const anything = fc.record({
      status: fc.constantFrom(...SERVER_STATUSES),
      desired_state: fc.constantFrom(...DESIRED_STATES),
      installed: fc.boolean(),
      accept_eula: fc.boolean(),
      restart_after: fc.constantFrom(null, new Date(0)),
      process: fc.constantFrom('stopped', 'starting', 'running', 'stopping', 'crashed'),
      exitCode: fc.constantFrom(null, 0, 1, 137),
    } as const);
    fc.assert(
      fc.property(anything, ({ process, exitCode, ...believed }) => {
        const correction = correctionFor(believed, { process, exitCode });
        if (correction?.isCrash) expect(believed.desired_state).to.equal('running');
      }),
    );
  });
});

describe('a crash', () => {
  const NONE: CrashCount = { crash_count: 0, crash_window_started_at: null };
  const start = new Date('2026-01-01T00:00:00Z');
  const later = (ms: number) => new Date(start.getTime() + ms);

  it('is followed by a start after 0, 10, 30, 60 and 120 s, then the server stays down', () => {
    const waits: (number | null)[] = [];
    let count = NONE;
    let now = start;
    for (let crash = 1; crash <= CRASH_BUDGET + 1; crash++) {
      const plan = planRestart(count, true, now);
      waits.push(plan.restart_after && (plan.restart_after.getTime() - now.getTime()) / 1000);
      expect(plan.isLoop).to.equal(crash > CRASH_BUDGET);
      count = plan;
      now = later(crash * 60_000);
    }
    expect(waits).to.deep.equal([0, 10, 30, 60, 120, null]);
  });

  it('is forgiven when its window is over', () => {
    const spent: CrashCount = { crash_count: CRASH_BUDGET, crash_window_started_at: start };
    expect(planRestart(spent, true, later(CRASH_WINDOW_MS - 1))).to.include({ isLoop: true });
    const anew = planRestart(spent, true, later(CRASH_WINDOW_MS));
    expect(anew).to.include({ crash_count: 1, isLoop: false });
    expect(anew.restart_after).to.deep.equal(later(CRASH_WINDOW_MS));
  });

  it('is no loop of a server that is not restarted at all', () => {
    const spent: CrashCount = { crash_count: CRASH_BUDGET, crash_window_started_at: start };
    expect(planRestart(spent, false, later(1))).to.include({ restart_after: null, isLoop: false });
  });

  it('is followed by a restart where settings and installation allow one', () => {
    const settings = { auto_start: false, auto_restart: true, installed: true, accept_eula: true };
    expect(restartsAfter(settings, 'exit-code')).to.equal(true);
    expect(restartsAfter({ ...settings, installed: false }, 'exit-code')).to.equal(false);
    expect(restartsAfter({ ...settings, accept_eula: false }, 'exit-code')).to.equal(false);
    const atBoot = { ...settings, auto_restart: false, auto_start: true };
    expect(restartsAfter(atBoot, 'exit-code')).to.equal(false);
    expect(restartsAfter(atBoot, 'unseen')).to.equal(true);
  });

  it('has a name, also where the agent tells only an exit code', () => {
    expect([null, 137, 143, 1].map(crashCodeOf)).to.deep.equal(['unseen', 'killed', 'signal', 'exit-code']);
  });

  it('is not counted when only the way to the server was gone', () => {
    expect(isServersFault('agent-unreachable')).to.equal(false);
    expect(isServersFault('no-lease')).to.equal(false);
    expect(isServersFault('start-failed')).to.equal(true);
  });
});
