import { appendFile, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { readConsole } from '../../agent/server/console.js';
import { releaseConsole, trimConsoles } from '../../agent/server/retention.js';
import { Run } from '../../agent/server/run.js';

const MIB = 1024 * 1024;
const LINE = `${'x'.repeat(1023)}\n`;
const log = pino({ level: 'silent' });

describe('agent console retention', function () {
  this.timeout(20_000);
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-runs-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function run(number: number, mib: number, ended = true): Promise<Run> {
    const made = await Run.create(folder, number, `op-${number}/start`, 1);
    await writeFile(made.consolePath, LINE.repeat(mib * 1024));
    if (ended) await made.end(0, async () => undefined);
    return made;
  }

  const onDisk = async (made: Run): Promise<number> => (await stat(made.consolePath)).blocks * 512;

  it('frees what a reader has stored but for 8 MiB, while the server writes on at the same offsets', async () => {
    const made = await run(1, 30, false);
    await releaseConsole(made, 25 * MIB, log);
    expect(made.droppedBefore).to.be.within(16.9 * MIB, 17 * MIB);
    expect(await onDisk(made)).to.be.lessThan(14 * MIB);
    await appendFile(made.consolePath, 'the next line\n');
    const next = await readConsole(made.consolePath, { offset: 30 * MIB, maxBytes: 100, ended: false });
    expect(next.lines).to.deep.equal(['the next line']);
    const first = await readConsole(made.consolePath, {
      offset: made.droppedBefore,
      maxBytes: 100,
      ended: false,
    });
    expect(first.lines[0], 'a whole line').to.equal(LINE.trim());
    expect((await Run.load(folder, '00000001'))?.droppedBefore, 'the next agent knows').to.equal(
      made.droppedBefore,
    );
  });

  it('does not bother for little', async () => {
    const made = await run(1, 12, false);
    await releaseConsole(made, 12 * MIB, log);
    expect(made.droppedBefore).to.equal(0);
  });

  it('keeps the newest five consoles, and of older runs how long they were', async () => {
    const runs = await Promise.all([1, 2, 3, 4, 5, 6, 7].map(number => run(number, 1)));
    expect((await trimConsoles(runs, log)).size).to.equal(0);
    const kept = await Promise.all(
      runs.map(made =>
        stat(made.consolePath).then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(kept).to.deep.equal([false, false, true, true, true, true, true]);
    expect(runs[0]?.droppedBefore).to.equal(MIB);
    expect(await runs[0]?.consoleSize()).to.equal(MIB);
  });

  it('keeps 64 MiB in all, of a run that goes on the newest', async () => {
    const runs = [await run(1, 10), await run(2, 80, false)];
    await trimConsoles(runs, log);
    expect(await runs[1]?.consoleSize()).to.equal(80 * MIB);
    let total = 0;
    for (const made of runs) total += await onDisk(made).catch(() => 0);
    expect(total).to.be.lessThan(64 * MIB);
  });

  it('forgets runs altogether in the end', async () => {
    const runs: Run[] = [];
    for (let number = 1; number <= 25; number++) runs.push(await run(number, 0));
    const forgotten = await trimConsoles(runs, log);
    expect([...forgotten].map(({ number }) => number)).to.deep.equal([1, 2, 3, 4, 5]);
    expect((await readdir(folder)).length).to.equal(20);
  });
});
