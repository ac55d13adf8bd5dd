import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ProcessState, type ServerState, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import { Journal } from '../../agent/journal.js';
import { type Fence, isOlder, Ledger, type LedgerEntry } from '../../agent/work/ledger.js';

const SERVER = '7d3c4b1a-0000-4000-8000-000000000001';
const DAY_MS = 24 * 3600 * 1000;

describe('agent records', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-ledger-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  function entry(opId: string, fence: Fence, acceptedAtMs = Date.now()): LedgerEntry {
    const request: WorkRequest = {
      key: { opId, step: 'kill' },
      serverId: SERVER,
      ...fence,
      undo: false,
      work: { $case: 'kill', kill: { beside: false } },
    };
    return {
      opId,
      step: 'kill',
      serverId: SERVER,
      fence,
      acceptedAtMs,
      request,
      cancelRequested: false,
      outcome: undefined,
    };
  }

  function outcome(opId: string) {
    const key = { opId, step: 'kill' };
    const state = WorkState.SUCCEEDED;
    return { key, state, progress: undefined, errorCode: '', errorDetail: '', server: undefined };
  }

  describe('ledger', () => {
    const path = (): string => join(folder, 'ledger');

    it('orders epochs before operations', () => {
      const f = (epoch: number, opSeq: number): Fence => ({ epoch, opSeq });
      expect(isOlder(f(1, 9), f(2, 1))).to.equal(true);
      expect(isOlder(f(2, 1), f(1, 9))).to.equal(false);
      expect(isOlder(f(1, 1), f(1, 2))).to.equal(true);
      expect(isOlder(f(1, 1), f(1, 1)), 'several steps of one operation').to.equal(false);
    });

    it('has after a crash what was accepted, cancelled and ended before it, with the request', async () => {
      const first = await Ledger.open(path());
      const [a, b, c] = [
        entry('a', { epoch: 1, opSeq: 1 }),
        entry('b', { epoch: 1, opSeq: 7 }),
        entry('c', { epoch: 1, opSeq: 3 }),
      ];
      for (const accepted of [a, b, c]) await first.accept(accepted);
      await first.finish(a, outcome('a'));
      await first.requestCancel(b);
      // No close: the process dies. What it was writing is torn.
      await appendFile(path(), '{"t":"done","op":"b","st');

      const second = await Ledger.open(path());
      expect(second.find('a', 'kill')?.outcome?.state).to.equal(WorkState.SUCCEEDED);
      expect(second.unfinished().map(({ opId }) => opId)).to.deep.equal(['b', 'c']);
      expect(second.find('b', 'kill')).to.deep.include({ cancelRequested: true, request: b.request });
      expect(second.fenceOf(SERVER)).to.deep.equal({ epoch: 1, opSeq: 7 });
      await first.close();
      await second.close();
    });

    it('keeps what ended within seven days, whatever it prunes, and fences for ever', async () => {
      const ledger = await Ledger.open(path());
      const now = Date.now();
      for (let day = 1; day <= 30; day++) {
        const old = entry(`day-${day}`, { epoch: 1, opSeq: day }, now - day * DAY_MS);
        await ledger.accept(old);
        await ledger.finish(old, outcome(old.opId));
      }
      const waiting = entry('unfinished', { epoch: 1, opSeq: 31 }, now - 30 * DAY_MS);
      await ledger.accept(waiting);
      await ledger.prune(now);
      expect(ledger.find('day-7', 'kill')).to.not.equal(undefined);
      expect(ledger.find('day-9', 'kill')).to.equal(undefined);
      expect(ledger.find('unfinished', 'kill')).to.equal(waiting);
      expect(ledger.fenceOf(SERVER).opSeq).to.equal(31);
      await ledger.close();
    });

    it('does not grow without end', async () => {
      const ledger = await Ledger.open(path());
      const long = Date.now() - 30 * DAY_MS;
      await Promise.all(
        Array.from({ length: 3_000 }, async (_, i) => {
          const old = entry(`op-${i}`, { epoch: 1, opSeq: i }, long);
          await ledger.accept(old);
          await ledger.finish(old, outcome(old.opId));
        }),
      );
      await ledger.prune();
      await ledger.close();
      expect((await readFile(path(), 'utf8')).split('\n').length).to.be.lessThan(5);
      const again = await Ledger.open(path());
      expect(again.fenceOf(SERVER).opSeq).to.equal(2_999);
      await again.close();
    });
  });

  describe('journal', () => {
    const path = (): string => join(folder, 'journal');

    function server(state: ProcessState): ServerState {
      return {
        serverId: SERVER,
        state,
        runId: 'op/start',
        pid: 0,
        startTicks: 0,
        startedAtMs: 0,
        readyAtMs: 0,
        exitCode: undefined,
        endedAtMs: 0,
        provisioned: true,
        epoch: 1,
        opSeq: 1,
        consoleOffset: 0,
        cause: undefined,
      };
    }

    it('goes on with the next number after a crash', async () => {
      const first = await Journal.open(path());
      await first.append(server(ProcessState.STARTING), 'start-requested');
      await first.append(server(ProcessState.RUNNING), 'ready');
      await appendFile(path(), '{"seq":3,"at":1,"prev');
      const second = await Journal.open(path());
      expect(second.id).to.equal(first.id);
      expect(second.lastStateOf(SERVER)).to.equal(ProcessState.RUNNING);
      await second.append(server(ProcessState.STOPPED), 'stopped');
      expect(second.after(1, 10).map(({ seq, previous }) => [seq, previous])).to.deep.equal([
        [2, ProcessState.STARTING],
        [3, ProcessState.RUNNING],
      ]);
      await first.close();
      await second.close();
    });

    it('begins anew under another id when its file is gone or unreadable', async () => {
      const first = await Journal.open(path());
      await first.close();
      await appendFile(path(), 'x');
      await rm(path());
      await appendFile(path(), 'rubbish\n');
      const second = await Journal.open(path());
      expect(second.id).to.not.equal(first.id);
      expect(second.lastSeq).to.equal(0);
      await second.close();
    });

    it('is bounded and has no holes in what it keeps, also after a restart', async function () {
      this.timeout(30_000);
      const first = await Journal.open(path());
      const states = [ProcessState.STARTING, ProcessState.RUNNING];
      await Promise.all(
        Array.from({ length: 9_000 }, (_, i) =>
          first.append(server(states[i % 2] ?? ProcessState.RUNNING), 'x'),
        ),
      );
      await first.close();
      expect((await readFile(path(), 'utf8')).split('\n').length).to.be.lessThan(8_300);
      const second = await Journal.open(path());
      const kept = second.after(0, 10_000).map(({ seq }) => seq);
      expect(kept.at(-1)).to.equal(9_000);
      expect(kept).to.deep.equal(kept.map((_, i) => (kept[0] ?? 0) + i));
      expect(kept.length).to.be.within(4_000, 4_096);
      await second.close();
    });
  });
});
