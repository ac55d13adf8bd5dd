import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { causeOf, type Ending, type Finding } from '../../agent/server/crashCause.js';
import { findCause } from '../../agent/server/postMortem.js';
import { Run } from '../../agent/server/run.js';

const ESCAPE = String.fromCharCode(27);
const at = (thread: string, text: string): string => `[04:29:23] [${thread}]: ${text}`;
const info = (text: string): string => at('Server thread/INFO', text);
const error = (text: string): string => at('Server thread/ERROR', text);

/** Of vanilla 1.21; Paper's has the shorter prefix and the same words. */
const CRASH = [
  error('Encountered an unexpected exception'),
  'java.lang.IllegalStateException: no chunk',
  '\tat net.minecraft.server.MinecraftServer.tickServer(MinecraftServer.java:900) ~[server.jar:?]',
  '\t... 3 more',
  error('This crash report has been saved to: /srv/mc/./crash-reports/crash-2026-11-24_04.29.23-server.txt'),
];
const LEAVING = [info('Stopping server'), info('Saving players'), info('Saving worlds')];
const HEAP = 'java.lang.OutOfMemoryError: Java heap space';
const WATCHDOG = [
  at('Server Watchdog/FATAL', 'A single server tick took 60.00 seconds (should be max 0.05)'),
  at('Server Watchdog/FATAL', 'Considering it to be crashed, server will forcibly shutdown.'),
];
const JVM_CRASH = [
  '#',
  '# A fatal error has been detected by the Java Runtime Environment:',
  '#',
  '#  SIGSEGV (0xb) at pc=0x00007f1c3c0b5a10, pid=4711, tid=4712',
  '#',
  '# JRE version: OpenJDK Runtime Environment (21.0.4+7) (build 21.0.4+7-LTS)',
  '# Problematic frame:',
  '# C  [libc.so.6+0x9ca10]',
  '#',
  '# An error report file with more information is saved as:',
  '# /srv/mc/hs_err_pid4711.log',
];

function cause(exitCode: number | undefined, lines: readonly string[], more: Partial<Ending> = {}) {
  return causeOf({ exitCode, oomKilled: false, lines, ...more });
}

describe('the cause of a crash', () => {
  for (const [what, found, expected] of [
    ['the heap', cause(1, [...CRASH.slice(0, 1), HEAP, ...CRASH.slice(2)]), ['out-of-memory', HEAP]],
    [
      'the heap, seen by Paper',
      cause(70, [`[04:29:23 WARN]: Exception in thread "Netty Epoll Server IO #1" ${HEAP}`]),
      ['out-of-memory', HEAP],
    ],
    [
      'the heap, with -XX:+ExitOnOutOfMemoryError',
      cause(3, [`Terminating due to ${HEAP}`]),
      ['out-of-memory', HEAP],
    ],
    [
      'the heap, beneath another exception',
      cause(1, [...CRASH, `Caused by: ${HEAP}`]),
      ['out-of-memory', HEAP],
    ],
    [
      'a heap bigger than the host',
      cause(1, [
        'Error occurred during initialization of VM',
        'Could not reserve enough space for 99999744KB object heap',
      ]),
      ['out-of-memory', 'Could not reserve enough space'],
    ],
    [
      'a host without memory',
      cause(1, [
        '#',
        '# There is insufficient memory for the Java Runtime Environment to continue.',
        ...JVM_CRASH.slice(-2),
      ]),
      ['out-of-memory', 'There is insufficient memory'],
    ],
    [
      'the kernel for want of memory',
      cause(137, [info('hello')], { oomKilled: true }),
      ['out-of-memory', 'kernel'],
    ],
    [
      'memory that also tripped the watchdog',
      cause(1, [HEAP, ...WATCHDOG, ...CRASH]),
      ['out-of-memory', HEAP],
    ],
    ['the JVM itself', cause(134, JVM_CRASH), ['jvm-crash', 'SIGSEGV (0xb) at pc=0x00007f1c3c0b5a10']],
    [
      'the watchdog, with its report',
      cause(1, [...WATCHDOG, ...CRASH]),
      ['watchdog', 'A single server tick took 60.00 seconds'],
    ],
    [
      'Paper’s watchdog',
      cause(1, ['[04:29:23 ERROR]: The server has stopped responding! This is (probably) not a Paper bug.']),
      ['watchdog', 'stopped responding'],
    ],
    ['an exception', cause(1, CRASH), ['crash-report', 'exception']],
    [
      'an exception, although the exit code is 0',
      cause(0, [...CRASH, ...LEAVING]),
      ['crash-report', 'exception'],
    ],
    [
      'a report that found no place',
      cause(1, [error('We were unable to save this crash report to disk.')]),
      ['crash-report', 'exception'],
    ],
    ['a SIGKILL', cause(137, [info('hello')]), ['killed', 'SIGKILL']],
    ['another signal', cause(139, [info('hello')]), ['signal', 'SIGSEGV']],
    [
      'itself',
      cause(1, [info('Loading'), error('Failed to start the minecraft server')]),
      ['exit-code', 'exit code 1: Loading'],
    ],
    ['itself, in silence', cause(42, []), ['exit-code', 'It ended with exit code 42: it printed nothing']],
    [
      'a host that went down',
      cause(143, [...LEAVING], { unseen: 'its host went down' }),
      ['unseen', 'its host went down'],
    ],
    ['nobody knows what', cause(undefined, [HEAP]), ['unseen', 'nobody was there']],
  ] as const) {
    it(`is ${expected[0]} when it was ended by ${what}`, () => {
      expect(found?.code).to.equal(expected[0]);
      expect(found?.detail).to.include(expected[1]);
    });
  }

  for (const [what, exitCode, lines] of [
    ['`stop` on the console', 0, [info('Stopping the server'), ...LEAVING]],
    ['`stop` by an operator in the game', 0, [...CRASH, info('[Steve: Stopping the server]'), ...LEAVING]],
    ['`stop`, long after a report of something else', 0, [...CRASH, info('Stopping the server'), ...LEAVING]],
    ['a restart from within', 0, [info('Attempting to restart with ./start.sh'), ...LEAVING]],
    ['SIGTERM', 143, LEAVING],
    ['SIGINT', 130, LEAVING],
    ['SIGHUP, before it could save', 129, []],
    ['`stop`, after an OutOfMemoryError that a plugin has survived', 0, [HEAP, ...LEAVING]],
  ] as const) {
    it(`is none when it was ended by ${what}`, () => expect(cause(exitCode, lines)).to.equal(undefined));
  }

  for (const said of [
    HEAP,
    'This crash report has been saved to: /etc/passwd',
    'A single server tick took 60.00 seconds (should be max 0.05)',
    'The server has stopped responding!',
    '# A fatal error has been detected by the Java Runtime Environment:',
    'Could not reserve enough space for object heap',
  ]) {
    it(`is not what players say: ${said}`, () => {
      const lines = ['<Mallory> ', '[Not Secure] <Mallory> ', '[Server] ', '* Mallory ', 'Mallory: '].flatMap(
        who => [info(`${who}${said}`), `[04:29:23 INFO]: ${who}${said}`],
      );
      expect(cause(1, lines)).to.include({ code: 'exit-code', report: undefined });
      expect(cause(0, lines)).to.equal(undefined);
    });
  }

  it('comes with the report’s path as printed, the last one of several', () => {
    expect(cause(1, CRASH)?.report).to.equal('/srv/mc/./crash-reports/crash-2026-11-24_04.29.23-server.txt');
    expect(cause(134, JVM_CRASH)?.report).to.equal('/srv/mc/hs_err_pid4711.log');
    expect(cause(137, [...CRASH], { oomKilled: true })?.report).to.equal(undefined);
  });

  it('comes with lines that tell of it: few, short, without colours, stack frames and blanks', () => {
    const chatter = Array.from({ length: 100 }, (_, n) => info(`chatter ${n}`));
    const { evidence } = certain(cause(1, [...chatter, ...CRASH, '', ...LEAVING, ...chatter]));
    expect(evidence).to.have.lengthOf(20).and.to.include.members([CRASH[0], CRASH[1], CRASH[4]]);
    expect(evidence.join('\n')).to.not.include('\tat ').and.to.not.include('3 more');

    const coloured = `${ESCAPE}[31;1m${error('x'.repeat(900))}${ESCAPE}[m`;
    const [line = ''] = certain(cause(1, [coloured])).evidence;
    expect(line.length).to.equal(500);
    expect(line).to.not.include(ESCAPE);
    expect(certain(cause(134, JVM_CRASH)).evidence).to.deep.equal(JVM_CRASH.filter(text => text !== '#'));
    expect(certain(cause(1, [`${HEAP} ${'x'.repeat(5_000)}`])).detail.length).to.be.at.most(500);
  });
});

describe('a post-mortem', () => {
  const log = pino({ level: 'silent' });
  let home: string;
  let folder: string;
  let run: Run;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'aymc-crash-'));
    folder = join(home, 'server');
    await mkdir(join(folder, 'crash-reports'), { recursive: true });
    await mkdir(join(home, 'runs'));
    run = await Run.create(join(home, 'runs'), 1, 'op/start', 1);
  });
  afterEach(() => rm(home, { recursive: true, force: true }));

  const reportedAt = async (path: string) => {
    await writeFile(
      run.consolePath,
      `${[...CRASH.slice(0, -1), error(`This crash report has been saved to: ${path}`)].join('\n')}\n`,
    );
    return findCause(run, folder, { exitCode: 1, oomKilled: false }, log);
  };
  const report = (description: string): string =>
    `---- Minecraft Crash Report ----\n// Oops.\n\nTime: 2026-11-24 04:29:23\nDescription: ${description}\n\njava.lang.X\n`;

  it('reads what the crash report says it was', async () => {
    await writeFile(join(folder, 'crash-reports/crash-1.txt'), report('Exception in server tick loop'));
    for (const path of [join(folder, '.', 'crash-reports/crash-1.txt'), './crash-reports/crash-1.txt']) {
      expect(await reportedAt(path)).to.include({
        code: 'crash-report',
        detail: 'It crashed: Exception in server tick loop',
        reportPath: 'crash-reports/crash-1.txt',
      });
    }
  });

  it('leaves the server’s folder by no path and by no link', async () => {
    await writeFile(join(home, 'secret'), report('secret'));
    await symlink(join(home, 'secret'), join(folder, 'crash-reports/link.txt'));
    for (const path of [join(home, 'secret'), '../secret', './crash-reports/link.txt', './', '.']) {
      const found = await reportedAt(path);
      expect(found?.detail).to.equal('It crashed by an exception');
      expect(found?.reportPath, path).to.equal('');
    }
  });

  it('tells of the crash also when there is nothing to read', async () => {
    expect(await reportedAt('./crash-reports/gone.txt')).to.include({ code: 'crash-report', reportPath: '' });
    await mkdir(join(folder, 'crash-reports/folder.txt'));
    expect((await reportedAt('./crash-reports/folder.txt'))?.detail).to.equal('It crashed by an exception');
    await rm(run.consolePath);
    const found = await findCause(run, folder, { exitCode: 1, oomKilled: false }, log);
    expect(found).to.deep.equal({
      code: 'exit-code',
      detail: 'It ended with exit code 1: it printed nothing',
      evidence: [],
      reportPath: '',
    });
  });

  it('is kept with the run, and lost when the run turns out to go on', async () => {
    const crash = {
      code: 'watchdog',
      detail: 'Its watchdog ended it',
      evidence: ['a', 'b'],
      reportPath: 'r.txt',
    };
    await run.end(1, async () => crash);
    const load = async () => (await Run.loadAll(join(home, 'runs')))[0];
    expect((await load())?.crash).to.deep.equal(crash);
    await run.reopen();
    expect((await load())?.crash).to.equal(undefined);
  });

  it('of a run that an older agent has ended is made from the exit code', async () => {
    await run.end(3, async () => undefined);
    expect((await Run.loadAll(join(home, 'runs')))[0]?.crash).to.include({ code: 'exit-code' });
  });
});

function certain(finding: Finding | undefined): Finding {
  if (finding === undefined) throw new Error('no cause was found');
  return finding;
}
