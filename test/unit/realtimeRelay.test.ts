import { expect } from 'chai';
import fc from 'fast-check';
import { setImmediate as tick } from 'node:timers/promises';
import type { Message } from '#src/contracts/events.js';
import { decodeCursor, encodeCursor } from '#src/contracts/cursor.js';
import type { Entry, EventSource } from '#src/realtime/eventSources.js';
import { createLimiter } from '#src/realtime/limiter.js';
import { errorMessage } from '#src/realtime/messages.js';
import { Outlet } from '#src/realtime/outlet.js';
import { EventRelay } from '#src/realtime/relay.js';
import { createLogger } from '#src/observability/logger.js';
import { waitFor } from '#test/harness/waitFor.js';

const logger = createLogger({ level: 'silent', name: 'test' });

function entry(seq: number): Entry {
  return {
    seq,
    message: { type: 'operation', channel: 'c', data: seq, timestamp: '', cursor: encodeCursor(seq) },
  };
}

/** A ledger whose answers come when the test says, or fail. */
class ScriptedSource implements EventSource {
  readonly seqs: number[] = [];
  reads = 0;
  failures = 0;
  /** Turns of the event loop that an answer takes, one after the other, over and over. */
  delays: readonly number[] = [0];

  append(seq: number): void {
    this.seqs.push(seq);
  }
  head = () => this.#answer(() => this.seqs.at(-1) ?? 0);
  read = (after: number, limit: number) =>
    this.#answer(() =>
      this.seqs
        .filter(seq => seq > after)
        .slice(0, limit)
        .map(entry),
    );
  snapshot = (limit: number) =>
    this.#answer(() => {
      const entries = this.seqs.slice(0, limit).map(entry);
      return { entries, position: entries.at(-1)?.seq ?? 0 };
    });

  async #answer<T>(look: () => T): Promise<T> {
    const turns = this.delays[this.reads++ % this.delays.length] ?? 0;
    // The answer is of one moment somewhere between the question and its arrival.
    for (let n = 0; n < turns; n++) await tick();
    if (this.failures > 0) {
      this.failures--;
      throw new Error('the database is away');
    }
    const found = look();
    for (let n = 0; n < turns; n++) await tick();
    return found;
  }
}

/** A ledger of which the newest may be shown instead of everything. */
class SkippableSource extends ScriptedSource {
  async skip(after: number): Promise<Entry | null> {
    const unread = await this.read(after, Infinity);
    const left = unread.slice(0, -10);
    const end = left.at(-1)?.seq;
    if (end === undefined || unread.length <= 100) return null;
    return {
      seq: end,
      message: errorMessage('c', { code: 'dropped', dropped: left.length }, encodeCursor(after)),
    };
  }
}

/** A client whose network takes `room` messages at a time. */
class ScriptedClient {
  readonly seen: unknown[] = [];
  readonly messages: Message[] = [];
  waitingNow = 0;
  readonly outlet: Outlet;

  constructor(readonly slow: boolean) {
    this.outlet = new Outlet({
      id: 'client',
      send: message => {
        this.seen.push(message.data);
        this.messages.push(message);
        if (this.slow) this.waitingNow++;
      },
      waiting: () => this.waitingNow,
      close: () => undefined,
      verify: () => Promise.reject(new Error('not asked for')),
    });
  }
  drain(): void {
    this.waitingNow = 0;
    this.outlet.drained();
  }
}

function startRelay(source: EventSource, lateMs?: number): EventRelay {
  const channel = { kind: 'operation', operation_id: 'o' } as const;
  return new EventRelay({
    channel,
    source,
    limit: createLimiter(2),
    logger,
    ...(lateMs !== undefined && { lateMs }),
  });
}

async function watch(relay: EventRelay, client: ScriptedClient, after: string | null = null) {
  const subscription = await relay.subscribe(client.outlet, after, 50);
  client.seen.push(...subscription.backlog.map((message: Message) => message.data));
  client.messages.push(...subscription.backlog);
  subscription.start();
  return subscription;
}

describe('a relay of events', () => {
  it('gives every client every event once and in order, however reads, pokes and slow clients interleave', async () => {
    const often = ['append', 'append many', 'poke', 'join', 'drain', 'turn'] as const;
    // Each failure costs a pause of the back-off.
    const step = fc.oneof(
      { weight: 60, arbitrary: fc.constantFrom(...often) },
      { weight: 1, arbitrary: fc.constant('fail' as const) },
    );
    const scenario = fc.record({
      steps: fc.array(step, { minLength: 5, maxLength: 60 }),
      delays: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 7 }),
      // A channel of few events of a server, as that of its status, has holes in its numbers.
      stride: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ steps, delays, stride }) => {
        const source = new ScriptedSource();
        source.delays = delays;
        const relay = startRelay(source);
        const clients: ScriptedClient[] = [];
        const joining: Promise<unknown>[] = [];
        let seq = 0;
        const append = (count: number) => {
          for (let n = 0; n < count; n++) source.append((seq += stride));
        };
        for (const each of steps) {
          if (each === 'append') append(1);
          if (each === 'append many') append(300);
          if (each === 'poke') relay.poke();
          if (each === 'drain') clients.forEach(client => client.drain());
          if (each === 'turn') await tick();
          if (each === 'fail' && joining.length > 0) {
            // A subscribe that fails is the client's to repeat; what is live must get over it.
            await Promise.all(joining);
            source.failures = 1;
            relay.poke();
            await waitFor(() => source.failures === 0, { what: 'the failure', everyMs: 1 });
          }
          if (each === 'join') {
            const client = new ScriptedClient(clients.length % 2 === 1);
            clients.push(client);
            joining.push(watch(relay, client));
          }
        }
        await Promise.all(joining);
        relay.poke(seq);
        await waitFor(
          () => {
            clients.forEach(client => client.drain());
            return clients.every(({ seen }) => seen.length >= source.seqs.length);
          },
          { what: 'everyone to have everything', everyMs: 1 },
        );
        for (const { seen } of clients) expect(seen).to.deep.equal(source.seqs);
        await relay.close();
      }),
      { numRuns: 150 },
    );
  }).timeout(60_000);

  it('asks the ledger once for all of its clients', async () => {
    const source = new ScriptedSource();
    const relay = startRelay(source);
    const clients = Array.from({ length: 100 }, () => new ScriptedClient(false));
    for (const client of clients) await watch(relay, client);
    source.reads = 0;
    source.append(1);
    for (let n = 0; n < 50; n++) relay.poke();
    await waitFor(() => clients.every(({ seen }) => seen.length === 1), { what: 'all clients' });
    expect(source.reads).to.be.at.most(2);
    await relay.close();
  });

  it('holds nothing in memory for a client that does not read', async () => {
    const source = new ScriptedSource();
    const relay = startRelay(source);
    const stuck = new ScriptedClient(true);
    const quick = new ScriptedClient(false);
    await watch(relay, stuck);
    await watch(relay, quick);
    for (let seq = 1; seq <= 2_000; seq++) source.append(seq);
    relay.poke();
    await waitFor(() => quick.seen.length === 2_000, { what: 'the quick one' });
    expect(stuck.waitingNow).to.be.at.most(256);
    await relay.close();
  });

  it('reads nothing more once it is closed', async () => {
    const source = new ScriptedSource();
    const relay = startRelay(source);
    await watch(relay, new ScriptedClient(false));
    await relay.close();
    const { reads } = source;
    relay.poke();
    for (let n = 0; n < 10; n++) await tick();
    expect(source.reads).to.equal(reads);
  });
});

describe('a relay of lines that may come faster than they are read', () => {
  /** Every line is seen once and in order, or a mark stands in its place: after the line before, counting right. */
  function expectWhole({ messages }: ScriptedClient, total: number): void {
    let at = 0;
    for (const { data, cursor } of messages) {
      if (typeof data === 'number') {
        expect(data).to.equal(at + 1);
        at = data;
      } else {
        expect(decodeCursor(cursor ?? '')).to.equal(at);
        at += droppedOf(data);
      }
    }
    expect(at).to.equal(total);
  }
  const droppedOf = (data: unknown): number =>
    typeof data === 'object' && data !== null && 'dropped' in data ? Number(data.dropped) : 0;

  it('marks what it leaves out, exactly, however floods and slow clients interleave', async () => {
    const step = fc.constantFrom('append', 'flood', 'poke', 'join', 'drain', 'turn', 'turn');
    const scenario = fc.record({
      steps: fc.array(step, { minLength: 5, maxLength: 40 }),
      delays: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ steps, delays }) => {
        const source = new SkippableSource();
        source.delays = delays;
        const relay = startRelay(source, 0);
        const clients: ScriptedClient[] = [];
        const joining: Promise<unknown>[] = [];
        let seq = 0;
        const append = (count: number) => {
          for (let n = 0; n < count; n++) source.append(++seq);
        };
        for (const each of steps) {
          if (each === 'append') append(1);
          if (each === 'flood') append(300);
          if (each === 'poke') relay.poke(seq);
          if (each === 'drain') clients.forEach(client => client.drain());
          if (each === 'turn') await tick();
          if (each === 'join') {
            const client = new ScriptedClient(clients.length % 2 === 1);
            clients.push(client);
            joining.push(watch(relay, client, encodeCursor(0)));
          }
        }
        await Promise.all(joining);
        relay.poke(seq);
        const hasEnd = ({ messages }: ScriptedClient) => seq === 0 || messages.at(-1)?.data === seq;
        await waitFor(
          () => {
            clients.forEach(client => client.drain());
            return clients.every(hasEnd);
          },
          { what: 'everyone to be at the end', everyMs: 1 },
        );
        for (const client of clients) expectWhole(client, seq);
        await relay.close();
      }),
      { numRuns: 60 },
    );
  }).timeout(60_000);

  it('leaves a client that is quick enough nothing out', async () => {
    const source = new SkippableSource();
    const relay = startRelay(source);
    const quick = new ScriptedClient(false);
    await watch(relay, quick);
    for (let seq = 1; seq <= 2_000; seq++) source.append(seq);
    relay.poke(2_000);
    await waitFor(() => quick.seen.at(-1) === 2_000, { what: 'the last line' });
    expect(quick.seen).to.have.length(2_000);
    await relay.close();
  });

  it('shows a client that was stuck the present, and goes on live', async () => {
    const source = new SkippableSource();
    const relay = startRelay(source, 50);
    const stuck = new ScriptedClient(true);
    await watch(relay, stuck);
    for (let seq = 1; seq <= 500; seq++) source.append(seq);
    relay.poke(500);
    await waitFor(() => stuck.waitingNow > 0, { what: 'the client to be stuck' });
    const since = performance.now();
    await waitFor(() => performance.now() - since > 100, { what: 'it to be late' });
    stuck.drain();
    await waitFor(() => stuck.seen.at(-1) === 500, { what: 'the last line' });
    expect(stuck.messages.filter(({ type }) => type === 'error')).to.have.length(1);
    expectWhole(stuck, 500);
    stuck.drain();
    source.append(501);
    relay.poke(501);
    await waitFor(() => stuck.seen.at(-1) === 501, { what: 'the next line' });
    await relay.close();
  });
});
