import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { appendFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ConsoleProbes } from '../../agent/sampling/consoleProbes.js';
import type { ConsoleProbe } from '../../agent/sampling/consoleProbe.js';
import { tpsQuestion } from '../../agent/sampling/tpsQuestion.js';
import { readConsole } from '../../agent/server/console.js';
import { Run } from '../../agent/server/run.js';

const say = (text: string): string => `[12:34:56 INFO]: ${text}`;
const answer = (tps: string): string => say(`TPS from last 1m, 5m, 15m: ${tps}, 20.0, 20.0`);

describe('agent console probe', () => {
  let folder: string;
  let run: Run;
  let server: FileHandle;
  let probes: ConsoleProbes;
  let probe: ConsoleProbe;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-probe-'));
    run = await Run.create(folder, 1, 'op/start', 1);
    execFileSync('mkfifo', [run.fifoPath]);
    // The server's end: reading and writing, so that it is there before anyone writes.
    server = await open(run.fifoPath, constants.O_RDWR | constants.O_NONBLOCK);
    await writeFile(run.consolePath, `${say('Done (1.0s)! For help, type "help"')}\n${answer('1.0')}\n`);
    begin('paper');
  });

  afterEach(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  function begin(type: string): void {
    const question = tpsQuestion(type);
    if (question === undefined) throw new Error(`${type} can't be asked`);
    probes = new ConsoleProbes();
    probe = probes.begin(run, question);
  }

  const print = (...lines: string[]) => appendFile(run.consolePath, lines.map(line => `${line}\n`).join(''));

  async function asked(): Promise<string> {
    const { buffer, bytesRead } = await server.read(Buffer.alloc(4096), 0, 4096);
    return buffer.toString('utf8', 0, bytesRead);
  }

  /** What a reader gets to see from an offset on. */
  async function seen(offset = 0): Promise<string[]> {
    const piece = await readConsole(run.consolePath, { offset, maxBytes: 64 * 1024, ended: false });
    return probes.withoutAnswers(run, piece);
  }

  it('asks, hears the answer and keeps it from every reader', async () => {
    await probe.ask();
    expect(await asked()).to.equal('tps\n');
    await print(say('ann joined the game'), answer('19.5'), say('ann left the game'));
    for (let reader = 0; reader < 2; reader++) {
      expect((await seen()).map(line => line.slice(17, 35))).to.deep.equal([
        'Done (1.0s)! For h',
        'TPS from last 1m, ',
        'ann joined the gam',
        'ann left the game',
      ]);
    }
    expect(probe.tps).to.equal(19.5);
    expect(probe.silentSeconds).to.equal(0);
  });

  it('shows what somebody else asks for, before, while and after it asks', async () => {
    await print(answer('2.0'));
    await probe.ask();
    await print(answer('3.0'), answer('4.0'));
    expect(await seen()).to.deep.equal([
      say('Done (1.0s)! For help, type "help"'),
      answer('1.0'),
      answer('2.0'),
      answer('4.0'),
    ]);
    await print(answer('5.0'));
    expect((await seen()).at(-1)).to.equal(answer('5.0'));
    expect(probe.tps).to.equal(3);
  });

  it('keeps one question open until it is answered, however late', async () => {
    expect(probe.isDue(60)).to.equal(true);
    await probe.ask();
    expect(probe.isDue(0)).to.equal(false);
    await print(answer('20.0'));
    await probe.scan();
    expect(probe.isDue(0)).to.equal(true);
    expect(probe.isDue(60)).to.equal(false);
    await probe.ask();
    await print(say('Saving'));
    await probe.scan();
    expect(probe.isDue(0), 'still open').to.equal(false);
    expect(await asked()).to.equal('tps\ntps\n');
  });

  it('knows nothing of a console that has never answered', async () => {
    expect([probe.tps, probe.silentSeconds]).to.deep.equal([undefined, undefined]);
    await probe.ask();
    await print(say('Unknown command. Type "/help" for help.'));
    await probe.scan();
    expect([probe.tps, probe.silentSeconds]).to.deep.equal([undefined, undefined]);
  });

  it('finds an answer of several lines among others’', async () => {
    begin('forge');
    await probe.ask();
    expect(await asked()).to.equal('forge tps\n');
    const line = (of: string, tps: string): string =>
      `[12:34:56] [Server thread/INFO]: ${of}: Mean tick time: 1.0 ms. Mean TPS: ${tps}`;
    await print(line('Dim 0 (overworld)', '20.000'), say('between'));
    expect((await seen()).at(-1)).to.equal(say('between'));
    await print(line('Dim 1 (end)', '20.000'), line('Overall', '17.500'), line('Overall', '16.000'));
    expect((await seen()).slice(-2)).to.deep.equal([say('between'), line('Overall', '16.000')]);
    expect(probe.tps).to.equal(17.5);
  });

  it('is not put to a console that is full, and then may be put again', async () => {
    await server.write(Buffer.alloc(64 * 1024, 'x'));
    await probe.ask();
    expect(probe.isDue(0)).to.equal(true);
    expect(probe.silentSeconds).to.equal(undefined);
  });

  it('reads on after a hole in the console', async () => {
    await probe.ask();
    await print('x'.repeat(1_000), answer('12.0'));
    run.droppedBefore = (await run.consoleSize()) - answer('12.0').length - 1;
    await probe.scan();
    expect(probe.tps).to.equal(12);
  });
});
