import { execFileSync } from 'node:child_process';
import { appendFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { AgentError } from '../../agent/errors.js';
import {
  endOfWholeLines,
  LINE_BYTES_MAX,
  readConsole,
  SPLIT_MARK,
  writeConsole,
} from '../../agent/server/console.js';
import { parseLogLine } from '../../agent/server/logLine.js';
import { describeFailure, failureNamedBy, saysReady } from '../../agent/server/readiness.js';

describe('agent console', () => {
  let folder: string;
  let file: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-console-'));
    file = join(folder, 'console.log');
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  describe('reading', () => {
    async function readAll(maxBytes: number, ended: boolean) {
      const lines: string[] = [];
      let offset = 0;
      for (;;) {
        const piece = await readConsole(file, { offset, maxBytes, ended });
        if (piece.nextOffset === offset) return { lines, offset };
        lines.push(...piece.lines);
        offset = piece.nextOffset;
      }
    }

    it('holds an unterminated line back until its newline comes, or the run is over', async () => {
      await writeFile(file, 'one\ntwo');
      const first = await readConsole(file, { offset: 0, maxBytes: 1024, ended: false });
      expect(first).to.deep.equal({ lines: ['one'], starts: [0], offset: 0, nextOffset: 4 });
      expect((await readConsole(file, { offset: 4, maxBytes: 1024, ended: false })).lines).to.deep.equal([]);
      await appendFile(file, ' more\n');
      const second = await readConsole(file, { offset: 4, maxBytes: 1024, ended: false });
      expect(second).to.deep.equal({ lines: ['two more'], starts: [4], offset: 4, nextOffset: 13 });
      await appendFile(file, 'last words');
      expect(await readAll(1024, true)).to.deep.equal({
        lines: ['one', 'two more', 'last words'],
        offset: 23,
      });
    });

    it('reads every line once, wherever the reader was cut off', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.string({ unit: 'grapheme', maxLength: 60 }).map(text => text.replace(/[\r\n]/g, ' '))),
          fc.integer({ min: 1, max: 400 }),
          async (lines, maxBytes) => {
            await writeFile(file, lines.map(line => `${line}\n`).join(''));
            expect((await readAll(maxBytes, false)).lines).to.deep.equal(lines);
          },
        ),
        { numRuns: 50 },
      );
    });

    it('splits a line that is too long, marks the pieces, and cuts no character in two', async () => {
      const long = 'ä€😀x'.repeat(4_000);
      await writeFile(file, `before\n${long}\nafter\n`);
      const { lines } = await readAll(64 * 1024, false);
      const pieces = lines.slice(1, -1);
      expect(pieces.length).to.equal(Math.ceil(Buffer.byteLength(long) / LINE_BYTES_MAX));
      expect(pieces.slice(0, -1).every(piece => piece.endsWith(SPLIT_MARK))).to.equal(true);
      expect(pieces.map(piece => piece.replace(SPLIT_MARK, '')).join('')).to.equal(long);
      expect(lines.at(-1)).to.equal('after');
    });

    it('is empty before the first byte, and takes CRLF for one line end', async () => {
      expect((await readConsole(file, { offset: 0, maxBytes: 10, ended: false })).lines).to.deep.equal([]);
      await writeFile(file, 'dos\r\nunix\n');
      expect((await readAll(1024, false)).lines).to.deep.equal(['dos', 'unix']);
    });

    it('begins a newcomer after the last whole line', async () => {
      await writeFile(file, 'one\ntwo\nthr');
      expect(await endOfWholeLines(file, 11)).to.equal(8);
      await writeFile(file, 'one');
      expect(await endOfWholeLines(file, 3)).to.equal(0);
    });
  });

  describe('writing', () => {
    const fifo = (): string => join(folder, 'stdin');

    async function codeOf(promise: Promise<void>): Promise<string | undefined> {
      try {
        await promise;
        return undefined;
      } catch (error) {
        if (error instanceof AgentError) return error.code;
        throw error;
      }
    }

    it('refuses everything that is not one short line, before it touches the console', async () => {
      for (const command of ['say a\nop mallory', 'say a\rb', 'say \0', 'x'.repeat(4096), '€'.repeat(1366)]) {
        expect(await codeOf(writeConsole('/nowhere', command))).to.equal('invalid-request');
      }
      expect(await codeOf(writeConsole('/nowhere', 'x'.repeat(4095)))).to.equal('server-not-running');
    });

    it('says busy and does not block when nobody reads', async () => {
      execFileSync('mkfifo', [fifo()]);
      expect(await codeOf(writeConsole(fifo(), 'say hello'))).to.equal('console-busy');
    });

    it('says busy when the FIFO is full', async () => {
      execFileSync('mkfifo', [fifo()]);
      const reader = await open(fifo(), 'r+');
      try {
        let code: string | undefined;
        for (let sent = 0; code === undefined && sent < 64; sent++) {
          code = await codeOf(writeConsole(fifo(), 'x'.repeat(4095)));
        }
        expect(code).to.equal('console-busy');
      } finally {
        await reader.close();
      }
    });
  });
});

describe('agent readiness', () => {
  const DONE = 'Done (12.345s)! For help, type "help"';

  for (const [family, line] of [
    ['vanilla', `[12:00:00] [Server thread/INFO]: ${DONE}`],
    ['Paper', `[12:00:00 INFO]: ${DONE}`],
    ['Paper in colour', `\u001b[32m[12:00:00 INFO]: ${DONE}\u001b[0m`],
    ['Fabric with logger names', `[12:00:00] [Server thread/INFO] (Minecraft) ${DONE}`],
    ['Forge', `[12:00:00] [Server thread/INFO] [minecraft/DedicatedServer]: ${DONE}`],
    ['NeoForge', `[24Nov2026 04:29:23.120] [Server thread/INFO] [minecraft/DedicatedServer/]: ${DONE}`],
    ['1.12', '[12:00:00] [Server thread/INFO]: Done (1.2s)! For help, type "help" or "?"'],
    ['1.6', '2013-05-01 12:34:56 [INFO] Done (1.2s)! For help, type "help" or "?"'],
    ['a decimal comma', '[12:00:00] [Server thread/INFO]: Done (3,4s)! For help, type "help"'],
  ] as const) {
    it(`is seen in the console of ${family}`, () => expect(saysReady(line)).to.equal(true));
  }

  for (const [what, line] of [
    ['a player who quotes it', `[12:00:00] [Server thread/INFO]: <Mallory> ${DONE}`],
    ['a player on Paper', `[12:00:00 INFO]: <Mallory> ${DONE}`],
    ['an unsigned chat message', `[12:00:00] [Server thread/INFO]: [Not Secure] <Mallory> ${DONE}`],
    ['a chat plugin with a rank', `[12:00:00] [Server thread/INFO]: (Member) ${DONE}`],
    ['the say command', `[12:00:00] [Server thread/INFO]: [Server] ${DONE}`],
    ['a player whose message is a log line', `[12:00:00 INFO]: <M> [12:00:00] [Server thread/INFO]: ${DONE}`],
    ['Paper’s level', '[12:00:00 INFO]: Done preparing level "world" (3.1s)'],
    ['a line without prefix', DONE],
    ['more text behind it', `[12:00:00] [Server thread/INFO]: ${DONE} said Mallory`],
  ] as const) {
    it(`is not faked by ${what}`, () => expect(saysReady(line)).to.equal(false));
  }

  it('knows why a start failed by the server’s own words', () => {
    const because = (line: string): string | undefined => failureNamedBy(line);
    const prefix = '[12:00:00] [Server thread/WARN]: ';
    expect(because(`${prefix}**** FAILED TO BIND TO PORT!`)).to.equal('port-in-use');
    expect(because(`${prefix}<Mallory> **** FAILED TO BIND TO PORT!`)).to.equal(undefined);
    expect(
      because('[12:00:00 INFO]: You need to agree to the EULA in order to run the server. Go to eula.txt'),
    ).to.equal('eula-not-accepted');
    expect(
      because('java.lang.UnsupportedClassVersionError: x has been compiled by a more recent version'),
    ).to.equal('java-missing');
    expect(because(`${prefix}<Mallory> java.lang.UnsupportedClassVersionError`)).to.equal(undefined);
  });

  it('describes a failure by its exit code and its last telling lines, in at most 500 characters', () => {
    const trace = [
      '[12:00:00] [main/ERROR]: Failed to start',
      'java.io.IOException: broken',
      '\tat a.b(C.java:1)',
      '',
    ];
    expect(describeFailure(1, trace)).to.equal(
      'ended with exit code 1: Failed to start | java.io.IOException: broken',
    );
    expect(describeFailure(undefined, [])).to.equal('ended: it printed nothing');
    expect(describeFailure(1, Array(50).fill('x'.repeat(450))).length).to.be.within(450, 500);
    expect(describeFailure(1, ['x'.repeat(5_000)]).length).to.be.at.most(500);
  });

  it('tells level, thread and text of a log line apart, and leaves a stack trace whole', () => {
    expect(parseLogLine('[12:00:00] [Server thread/WARN]: Can’t keep up!')).to.deep.equal({
      level: 'WARN',
      source: 'Server thread',
      message: 'Can’t keep up!',
      prefixed: true,
    });
    expect(parseLogLine('\tat a.b(C.java:1)').message).to.equal('\tat a.b(C.java:1)');
  });
});
