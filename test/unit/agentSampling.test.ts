import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import type { HostSample, ServerSample } from '#proto/gen/agent.js';
import { waitFor } from '#test/harness/waitFor.js';
import { loadConfig } from '../../agent/config.js';
import { folderSize } from '../../agent/sampling/folderSize.js';
import { ProcessTable } from '../../agent/sampling/processTable.js';
import { SampleRing } from '../../agent/sampling/sampleRing.js';
import { tpsQuestion } from '../../agent/sampling/tpsQuestion.js';
import { identify, parseStat } from '../../agent/server/process.js';
import { clockTicksPerSecond, pageBytes } from '../../agent/system.js';

const PATH = process.env['PATH'] ?? '';
const HOST: HostSample = {
  cpuPercent: 0,
  memoryTotalBytes: 0,
  memoryUsedBytes: 0,
  diskTotalBytes: 0,
  diskUsedBytes: 0,
  networkSentBytes: 0,
  networkReceivedBytes: 0,
};

describe('agent sampling', () => {
  describe('processes', () => {
    const stat = (name: string): string =>
      `4711 (${name}) S 1 4700 4690 0 -1 4194560 99 98 97 96 11 7 5 3 20 0 42 0 123456 9876543210 2048 18446744073709551615 1`;

    it('are read whatever their name', () => {
      for (const name of ['java', 'a b', 'x) R 1 2 3 (y', ') ', '', '(((']) {
        expect(parseStat(stat(name)), name).to.deep.equal({
          pid: 4711,
          state: 'S',
          parent: 1,
          group: 4700,
          session: 4690,
          cpuTicks: 26,
          startTicks: 123456,
          residentPages: 2048,
        });
      }
    });

    it('are not read from half a line', () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 60 }), length => {
          expect(parseStat(stat('java').slice(0, length))).to.equal(undefined);
        }),
      );
    });

    it('are counted in the units of this machine', () => {
      expect(clockTicksPerSecond()).to.be.within(24, 1_024);
      expect(Math.log2(pageBytes()) % 1).to.equal(0);
      expect(pageBytes()).to.be.within(4_096, 65_536);
    });

    it('count for the leader of their session, also those that have ended; a reused pid is another process', async () => {
      const script = `(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) & wait $!; echo done; sleep 60`;
      const leader = spawn('sh', ['-c', script], {
        detached: true,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      try {
        const jvm = await waitFor(() => identify(leader.pid ?? 0), { what: 'the leader' });
        await new Promise(resolve => leader.stdout.once('data', resolve));
        const table = await ProcessTable.read([jvm]);
        const use = table.useOf(jvm);
        expect(use?.cpuSeconds).to.be.greaterThan(0.05);
        expect(use?.memoryBytes).to.be.within(100_000, 100_000_000);
        expect(table.useOf({ ...jvm, startTicks: jvm.startTicks + 1 })).to.equal(undefined);
        expect(table.useOf({ ...jvm, pid: 1 })).to.equal(undefined);
      } finally {
        process.kill(-(leader.pid ?? 0), 'SIGKILL');
      }
    });

    it('are not looked for where there is no server', async () => {
      const self = identify(process.pid);
      expect(self && (await ProcessTable.read([])).useOf(self)).to.equal(undefined);
    });
  });

  describe('ticks per second', () => {
    const read = (type: string, line: string) => tpsQuestion(type)?.read(line);
    const PAPER = '[12:34:56 INFO]: ';
    const VANILLA = '[12:34:56] [Server thread/INFO]: ';
    const FORGE = '[24Nov2026 04:29:23.120] [Server thread/INFO] [minecraft/DedicatedServer/]: ';

    it('are asked of those that know them', () => {
      expect(['paper', 'spigot', 'purpur', 'forge'].map(type => tpsQuestion(type)?.command)).to.deep.equal([
        'tps',
        'tps',
        'tps',
        'forge tps',
      ]);
      for (const type of ['vanilla', 'fabric', 'neoforge', '', undefined])
        expect(tpsQuestion(type)).to.equal(undefined);
    });

    const answers: [string, string, number][] = [
      ['Paper', `${PAPER}TPS from last 1m, 5m, 15m: 19.9, 20.0, 20.0`, 19.9],
      ['Spigot', `${VANILLA}TPS from last 1m, 5m, 15m: *20.0, 19.98, 18.5`, 20],
      ['two decimals', `${VANILLA}TPS from last 1m, 5m, 15m: 7.25, 19.98, 18.5`, 7.25],
      ['colour codes', `${VANILLA}§6TPS from last 1m, 5m, 15m: §a*20.0§6, §a19.98§6, §e15.5`, 20],
      [
        'a terminal’s colours',
        `${PAPER}\u001b[33mTPS from last 1m, 5m, 15m: \u001b[92m18.0\u001b[33m, 20.0, 20.0`,
        18,
      ],
      ['Purpur', `${PAPER}TPS from last 5s, 1m, 5m, 15m: 3.0, 12.5, 20.0, 20.0`, 12.5],
      ['spans we don’t know', `${PAPER}TPS from last 10s, 30s: 11.0, 12.0`, 11],
      ['a remark behind', `${VANILLA}TPS from last 1m, 5m, 15m: 20.0, 20.0, 20.0 (mspt 1.5)`, 20],
      ['a server that stands still', `${PAPER}TPS from last 1m, 5m, 15m: 0.0, 0.0, 0.0`, 0],
    ];
    for (const [what, line, tps] of answers)
      it(`are read from ${what}`, () => expect(read('paper', line)).to.deep.equal({ tps }));

    it('are read from the last line of Forge’s answer', () => {
      const dimensions = [
        'Dim  0 (overworld) : Mean tick time: 1.234 ms. Mean TPS: 20.000',
        'Dim minecraft:the_nether (minecraft:the_nether): Mean tick time: 0,300 ms. Mean TPS: 20,000',
        'Dim -1 : Mean tick time: 0.004 ms. Mean TPS: 20.000',
      ];
      for (const line of dimensions) expect(read('forge', FORGE + line)).to.deep.equal({ tps: undefined });
      const overall = 'Mean tick time: 65.512 ms. Mean TPS: 15.264';
      expect(read('forge', `${FORGE}Overall: ${overall}`)).to.deep.equal({ tps: 15.264 });
      expect(
        read('forge', `${FORGE}Overall : ${overall.replaceAll('.', ',').replace('ms,', 'ms.')}`),
      ).to.deep.equal({
        tps: 15.264,
      });
    });

    it('come with what EssentialsX logs of the question', () => {
      for (const text of [
        'CONSOLE issued server command: /tps',
        '[Essentials] CONSOLE issued server command: /tps',
      ])
        expect(read('paper', PAPER + text)).to.deep.equal({ tps: undefined });
      expect(read('paper', `${PAPER}ann issued server command: /tps`)).to.equal(undefined);
    });

    it('are not read from anything else', () => {
      const others = [
        'TPS from last 1m, 5m, 15m: 20.0, 20.0, 20.0',
        `${PAPER}<Mallory> TPS from last 1m, 5m, 15m: 20.0, 20.0, 20.0`,
        `${PAPER}TPS from last 1m, 5m, 15m: `,
        `${PAPER}TPS from last 1m, 5m, 15m: , , `,
        `${PAPER}Unknown command. Type "/help" for help.`,
        PAPER,
      ];
      for (const line of others) expect(read('paper', line), line).to.equal(undefined);
      expect(read('forge', `${FORGE}<x> Overall: Mean tick time: 1.0 ms. Mean TPS: 20.0`)).to.equal(
        undefined,
      );
      fc.assert(fc.property(fc.string(), text => void read('paper', PAPER + text)));
    });
  });

  describe('kept samples', () => {
    const servers = (count: number): ServerSample[] =>
      Array.from({ length: count }, (_, n) => ({
        serverId: String(n),
        runId: '',
        memoryUsedBytes: 1,
        uptimeSeconds: 1,
      }));
    const seqs = (ring: SampleRing, seq: number, servers_ = 1_000) =>
      ring.after(seq, servers_).map(({ sample }) => sample.seq);

    it('are those of one hour, numbered from 1', () => {
      const ring = new SampleRing(10_000);
      expect(ring.lastSeq).to.equal(0);
      expect(seqs(ring, 0)).to.deep.equal([]);
      for (let n = 0; n < 400; n++) ring.append(HOST, []);
      expect(ring.lastSeq).to.equal(400);
      expect(seqs(ring, 0)[0]).to.equal(41);
      expect(seqs(ring, 0)).to.have.length(360);
      expect(seqs(ring, 398)).to.deep.equal([399, 400]);
      expect(seqs(ring, 400)).to.deep.equal([]);
      expect(seqs(ring, 5_000)).to.deep.equal([]);
    });

    it('come exactly once and in order, whatever they are taken in', () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 50 }),
          fc.integer({ min: 1, max: 40 }),
          (counts, atOnce) => {
            const ring = new SampleRing(10_000);
            for (const count of counts) ring.append(HOST, servers(count));
            const taken: number[] = [];
            while ((taken.at(-1) ?? 0) < ring.lastSeq) {
              const batch = ring.after(taken.at(-1) ?? 0, atOnce);
              const size = batch.reduce((sum, { sample }) => sum + sample.servers.length, 0);
              expect(batch.length === 1 || size <= atOnce).to.equal(true);
              taken.push(...batch.map(({ sample }) => sample.seq));
            }
            expect(taken).to.deep.equal(counts.map((_, index) => index + 1));
          },
        ),
        { numRuns: 50 },
      );
    });

    it('are bounded also where there are very many servers', () => {
      const ring = new SampleRing(10_000);
      for (let n = 0; n < 100; n++) ring.append(HOST, servers(1_000));
      expect(seqs(ring, 0, 1_000_000)[0]).to.equal(51);
      expect(new SampleRing(1).after(0, 1)).to.deep.equal([]);
    });

    it('wake those who listen', () => {
      const ring = new SampleRing(10_000);
      let heard = 0;
      const off = ring.onAppend(() => heard++);
      ring.append(HOST, []);
      off();
      ring.append(HOST, []);
      expect(heard).to.equal(1);
    });
  });

  describe('size of a folder', () => {
    let folder: string;
    const measure = (path = PATH) => folderSize(folder, path, new AbortController().signal);

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'aymc-size-'));
    });

    afterEach(() => rm(folder, { recursive: true, force: true }));

    it('is what its files take, and not what links in it point to', async () => {
      const empty = (await measure()) ?? 0;
      await mkdir(join(folder, 'world/region'), { recursive: true });
      await writeFile(join(folder, 'world/region/r.0.0.mca'), Buffer.alloc(3_000_000, 1));
      await symlink('/usr', join(folder, 'elsewhere'));
      expect(((await measure()) ?? 0) - empty).to.be.within(3_000_000, 3_100_000);
    });

    it('is unknown, and nothing worse, without the folder or the program', async () => {
      expect(await measure('/nowhere')).to.equal(undefined);
      await rm(folder, { recursive: true });
      expect(await measure()).to.equal(undefined);
    });
  });

  describe('settings', () => {
    const load = (env: NodeJS.ProcessEnv) => {
      const { sampleIntervalMs, tpsIntervalMs } = loadConfig({ AGENT_ID: 'a', ...env });
      return [sampleIntervalMs, tpsIntervalMs];
    };

    it('have defaults, and take a time with its unit', () => {
      expect(load({})).to.deep.equal([10_000, 60_000]);
      expect(load({ AGENT_SAMPLE_INTERVAL: '500ms', AGENT_TPS_INTERVAL: '0' })).to.deep.equal([500, 0]);
      expect(load({ AGENT_SAMPLE_INTERVAL: '60m', AGENT_TPS_INTERVAL: '5s' })).to.deep.equal([
        3_600_000, 5_000,
      ]);
    });

    it('are refused when they are none', () => {
      for (const value of ['10', '0', '99ms', '2h', '61m', '-1s', 'often', '1e3ms'])
        expect(() => load({ AGENT_SAMPLE_INTERVAL: value }), value).to.throw(
          'AGENT_SAMPLE_INTERVAL must be a time',
        );
      expect(() => load({ AGENT_TPS_INTERVAL: '60' })).to.throw('AGENT_TPS_INTERVAL');
    });
  });
});
