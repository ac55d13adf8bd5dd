import { EventEmitter } from 'node:events';
import { expect } from 'chai';
import { createLogger } from '#src/observability/logger.js';
import { createShutdown, type Shutdown } from '#src/observability/shutdown.js';
import { waitFor } from '#test/harness/waitFor.js';

class FakeProcess extends EventEmitter {
  readonly exits: number[] = [];
  exit(code: number): void {
    this.exits.push(code);
  }
}

describe('shutdown', () => {
  let host: FakeProcess;
  let lines: string[];
  let forced: number;
  let shutdown: Shutdown;

  function create(deadlineMs = 2000): Shutdown {
    const logger = createLogger({
      level: 'debug',
      name: 't',
      destination: { write: line => lines.push(line) },
    });
    return createShutdown({ logger, deadlineMs, host, onForcedExit: () => forced++ });
  }
  beforeEach(() => {
    host = new FakeProcess();
    lines = [];
    forced = 0;
    shutdown = create();
  });

  it('closes the last opened first, one after the other, and exits 0', async () => {
    const order: string[] = [];
    for (const name of ['database', 'server']) {
      shutdown.add(name, async ({ reason }) => {
        order.push(`${name} closing on ${reason}`);
        await new Promise(resolve => setImmediate(resolve));
        order.push(`${name} closed`);
      });
    }
    host.emit('SIGTERM');
    await waitFor(() => host.exits.length, { what: 'exit' });
    expect(order).to.deep.equal([
      'server closing on SIGTERM',
      'server closed',
      'database closing on SIGTERM',
      'database closed',
    ]);
    expect(host.exits).to.deep.equal([0]);
  });

  it('goes on when a step fails or takes too long, and says which', async () => {
    const order: string[] = [];
    shutdown.add('first', () => order.push('first'));
    shutdown.add('stuck', () => new Promise(() => undefined), { timeoutMs: 20 });
    shutdown.add('broken', () => Promise.reject(new Error('boom')));
    await shutdown.run('done');
    expect(order).to.deep.equal(['first']);
    expect(lines.join()).to.include('boom').and.include('"step":"stuck"');
    expect(host.exits).to.deep.equal([0]);
  });

  it('tells a step when its time is up', async () => {
    let told = false;
    shutdown.add(
      'slow',
      ({ signal }) => {
        signal.addEventListener('abort', () => (told = true));
        return new Promise(() => undefined);
      },
      { timeoutMs: 20 },
    );
    await shutdown.run('done');
    expect(told).to.equal(true);
  });

  it('takes the echoes of one Ctrl-C for one, and a later signal for impatience', async () => {
    shutdown.add('long', () => new Promise(() => undefined), { timeoutMs: 1900 });
    host.emit('SIGINT');
    host.emit('SIGINT');
    expect(host.exits).to.deep.equal([]);
    await waitFor(
      () => {
        host.emit('SIGINT');
        return host.exits.length > 0;
      },
      { what: 'forced exit' },
    );
    expect(host.exits[0]).to.equal(1);
    expect(forced).to.be.greaterThan(0);
  });

  it('exits at the deadline whatever the steps do', async () => {
    shutdown = create(30);
    shutdown.add('stuck', () => new Promise(() => undefined), { timeoutMs: 5000 });
    void shutdown.run('done');
    await waitFor(() => host.exits.length, { what: 'exit' });
    expect(host.exits).to.deep.equal([1]);
    expect(forced).to.equal(1);
  });

  it('ends in order, with code 1, after a fault that nobody caught', async () => {
    let closed = false;
    shutdown.add('database', () => (closed = true));
    host.emit('unhandledRejection', new Error('lost promise'));
    await waitFor(() => host.exits.length, { what: 'exit' });
    expect(closed).to.equal(true);
    expect(host.exits).to.deep.equal([1]);
    expect(lines.join()).to.include('lost promise');
  });

  it('tells start-up work to stop', () => {
    void shutdown.run('done');
    expect(shutdown.signal.aborted).to.equal(true);
  });
});
