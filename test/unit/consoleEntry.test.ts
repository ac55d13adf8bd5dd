import { expect } from 'chai';
import { joinEntries, mayGoOn } from '#src/domain/consoleEntry.js';

describe('joinEntries', () => {
  it('puts a trace to the line that tells of it', () => {
    const entries = joinEntries([
      '[12:00:00] [Server thread/INFO]: hello',
      '[12:00:01] [Server thread/ERROR]: Encountered an unexpected exception',
      'java.lang.IllegalStateException: no world',
      '\tat net.minecraft.Main.run(Main.java:1)',
      'Caused by: java.io.IOException: gone',
      '\t... 3 more',
      '[12:00:02] [Server thread/INFO]: bye',
    ]);
    expect(entries.map(entry => entry.message)).to.deep.equal([
      'hello',
      'Encountered an unexpected exception',
      'bye',
    ]);
    expect(entries[1]).to.include({
      level: 'ERROR',
      exception: 'java.lang.IllegalStateException: no world',
      stack_trace:
        'java.lang.IllegalStateException: no world\n\tat net.minecraft.Main.run(Main.java:1)\nCaused by: java.io.IOException: gone\n\t... 3 more',
    });
  });

  it('makes an entry of what the JVM throws without a line of the log', () => {
    const [entry, ...rest] = joinEntries([
      'Exception in thread "main" java.lang.UnsupportedClassVersionError: Main has been compiled',
      '\tat java.base/java.lang.ClassLoader.defineClass1(Native Method)',
    ]);
    expect(rest).to.be.empty;
    expect(entry).to.include({
      level: 'ERROR',
      exception: 'java.lang.UnsupportedClassVersionError: Main has been compiled',
    });
  });

  it('keeps apart what only looks like it', () => {
    const lines = ['OpenJDK 64-Bit Server VM warning: x', 'at last', '[12:00:00 INFO]: <ann> at home'];
    expect(joinEntries(lines).map(entry => entry.stack_trace)).to.deep.equal([null, null, null]);
  });

  describe('of a backlog', () => {
    const clock = (time: string) => Date.parse(`1970-01-01T${time}Z`);
    const read = { at_ms: Date.parse('2026-11-24T17:00:10Z'), clock_ms: clock('12:00:10') };
    const times = (...lines: string[]) =>
      joinEntries(lines, read).map(({ at_ms }) => at_ms && new Date(at_ms).toISOString().slice(0, 19));

    it('dates lines by what they print, by our clock', () => {
      expect(times('[11:30:00 INFO]: a', '[11:59:59 INFO]: b')).to.deep.equal([
        '2026-11-24T16:30:00',
        '2026-11-24T16:59:59',
      ]);
    });

    it('takes a later time of day for yesterday’s', () => {
      expect(times('[23:00:00 INFO]: a')).to.deep.equal(['2026-11-24T04:00:00']);
    });

    it('dates what was just printed by its reading', () => {
      expect(times('[12:00:09 INFO]: a', '[12:00:11 INFO]: b')).to.deep.equal([
        '2026-11-24T17:00:10',
        '2026-11-24T17:00:10',
      ]);
    });

    it('never goes back, and gives lines without a time that of their neighbours', () => {
      const lines = ['Starting', '[11:30:00 INFO]: a', 'b', '[11:20:00 INFO]: c'];
      expect(new Set(times(...lines))).to.deep.equal(new Set(['2026-11-24T16:30:00']));
      expect(times('no time at all')).to.deep.equal([undefined]);
    });
  });

  it('starts another row when a trace is too long for one', () => {
    const frame = `\tat ${'x'.repeat(1000)}`;
    const entries = joinEntries(['[12:00:00 ERROR]: deep', ...Array.from({ length: 100 }, () => frame)]);
    expect(entries).to.have.length(2);
  });
});

describe('mayGoOn', () => {
  it('waits after errors and frames alone', () => {
    expect(mayGoOn(['[12:00:00 ERROR]: x'])).to.equal(true);
    expect(mayGoOn(['\tat x.Y.z(Y.java:1)'])).to.equal(true);
    expect(mayGoOn(['[12:00:00 INFO]: x'])).to.equal(false);
    expect(mayGoOn([])).to.equal(false);
  });
});
