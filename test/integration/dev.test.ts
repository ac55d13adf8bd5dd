import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import pg from 'pg';
import { waitFor } from '#test/harness/waitFor.js';
import { identify } from '../../processes/dev/processTable.js';
import { freePort } from '../../processes/dev/ports.js';
import { startPostgres } from '../../processes/dev/postgresServer.js';
import type { Runtime } from '../../processes/dev/runtimeFile.js';
import { startTemporal } from '../../processes/dev/temporalServer.js';

const STAND_IN = fileURLToPath(new URL('./devStandIn.ts', import.meta.url));
const READY = /^AYMC ready (http:\/\/127\.0\.0\.1:\d+)$/m;

/** One run of `npm start` with stand-ins for app and agents. */
class Run {
  output = '';
  readonly ended: Promise<number | null>;
  private readonly child: ChildProcess;

  constructor(
    readonly root: string,
    env: Record<string, string> = {},
  ) {
    this.child = spawn(process.execPath, ['--import', 'tsx', STAND_IN], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...inherited(),
        AYMC_DATA_DIR: join(root, 'data'),
        NOTES: join(root, 'notes'),
        ...env,
      },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.ended = new Promise(resolve => this.child.once('exit', code => resolve(code)));
  }

  async ready(): Promise<this> {
    await waitFor(() => READY.test(this.output) || this.child.exitCode !== null, {
      timeoutMs: 60_000,
      what: 'ready',
    });
    expect(this.output).to.match(READY);
    return this;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async stop(): Promise<number | null> {
    this.kill('SIGTERM');
    return this.ended;
  }

  async runtime(): Promise<Runtime> {
    const runtime: unknown = JSON.parse(await readFile(join(this.root, 'data', 'runtime.json'), 'utf8'));
    if (!isRuntime(runtime)) throw new Error('runtime.json is not what it should be');
    return runtime;
  }

  async notes(): Promise<string[]> {
    return (await readFile(join(this.root, 'notes'), 'utf8')).trim().split('\n');
  }

  async environmentOf(who: string): Promise<Record<string, unknown>> {
    const environment: unknown = JSON.parse(await readFile(join(this.root, `notes.${who}.json`), 'utf8'));
    return { ...(typeof environment === 'object' ? environment : {}) };
  }
}

/** What a child needs of ours; settings that a person has set for themselves would steer the test. */
function inherited(): Record<string, string> {
  const names = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'XDG_CACHE_HOME'];
  return Object.fromEntries(
    names.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

function isRuntime(value: unknown): value is Runtime {
  return typeof value === 'object' && value !== null && 'pids' in value && 'agents' in value;
}

function pidsOf({ pids, agents }: Runtime): number[] {
  const all = [pids.api, pids.temporal, pids.postgres, ...agents.map(agent => agent.pid)];
  return all.filter(pid => pid !== null);
}

function hold(port: number): Promise<Server> {
  // Whoever dials it, e.g. an agent's default port: a kept connection would keep it from closing.
  const server = createServer(socket => socket.destroy());
  return new Promise(resolve =>
    server.once('error', () => resolve(server)).listen(port, '127.0.0.1', () => resolve(server)),
  );
}

describe('npm start', function () {
  this.timeout(120_000);
  let root = '';
  const runs: Run[] = [];

  function start(env: Record<string, string> = {}): Run {
    const run = new Run(root, env);
    runs.push(run);
    return run;
  }

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'aymc-start-'));
  });
  afterEach(async () => {
    await Promise.all(runs.splice(0).map(run => run.stop()));
    await rm(root, { recursive: true });
  });

  it('brings everything up, tells where it is, and ends it in order without leftovers', async () => {
    const run = await start({ AYMC_EMBEDDED_AGENTS: '2' }).ready();
    const runtime = await run.runtime();
    expect(run.output.trimEnd().split('\n').at(-1)).to.equal(`AYMC ready ${runtime.api}`);
    expect(run.output).to.include(`${runtime.api}/docs`).and.include('admin / admin123');
    expect((await fetch(`${runtime.api}/readyz`)).ok).to.equal(true);
    expect(runtime.agents.map(agent => agent.agent_id)).to.deep.equal(['local-1', 'local-2']);
    expect(runtime.pids.api).to.equal(runtime.pids.worker);
    expect(pidsOf(runtime).every(pid => identify(pid))).to.equal(true);

    const begun = performance.now();
    expect(await run.stop()).to.equal(0);
    expect(performance.now() - begun).to.be.lessThan(15_000);
    expect((await run.notes())[0]).to.equal('app SIGTERM');
    expect(await run.notes()).to.have.members(['app SIGTERM', 'local-1 SIGTERM', 'local-2 SIGTERM']);
    expect(pidsOf(runtime).filter(pid => identify(pid))).to.deep.equal([]);
  });

  it('ends what a predecessor killed with −9 left, keeps its data, and leaves the servers alone', async () => {
    const first = await start({ AYMC_EMBEDDED_AGENTS: '2' }).ready();
    const left = await first.runtime();
    first.kill('SIGKILL');
    await first.ended;
    expect(pidsOf(left).every(pid => identify(pid))).to.equal(true);

    const second = await start({ AYMC_EMBEDDED_AGENTS: '1' }).ready();
    expect(second.output).to.include('Ended what a killed predecessor left.');
    expect(pidsOf(left).filter(pid => identify(pid))).to.deep.equal([]);
    expect(await second.notes())
      .to.include('app SIGHUP')
      .and.not.include('app SIGTERM');
    const { password } = new URL((await second.runtime()).postgres.url);
    expect(password).to.equal(new URL(left.postgres.url).password);
  });

  it('refuses to start beside a living one on the same data', async () => {
    await start().ready();
    const second = start();
    expect(await second.ended).to.equal(1);
    expect(second.output).to.match(/AYMC already runs on .* \(pid \d+\)/);
  });

  it('waits for one that is just ending', async () => {
    const first = await start().ready();
    first.kill('SIGTERM');
    const second = await start().ready();
    expect(await first.ended).to.equal(0);
    expect(second.output).to.match(READY);
  });

  it('takes free ports when the usual ones are taken, and says when a wanted one is', async () => {
    const holders = await Promise.all([8080, 7233, 8233, 5432, 50_051].map(hold));
    try {
      const runtime = await (await start().ready()).runtime();
      expect(runtime.api).not.to.match(/:8080$/);
      expect(runtime.temporal.address).not.to.match(/:7233$/);
      expect(runtime.agents[0]?.address).not.to.match(/:50051$/);
    } finally {
      await Promise.all(holders.map(holder => new Promise(resolve => holder.close(resolve))));
    }
  });

  it('uses the PostgreSQL and Temporal that the settings name, and leaves them running', async () => {
    const own = { dataDir: join(root, 'own') };
    const [postgres, temporal] = await Promise.all([
      startPostgres({ ...own, port: await freePort(), fsync: false }),
      startTemporal({ ...own, port: await freePort(), uiPort: await freePort() }),
    ]);
    try {
      const run = await start({ DATABASE_URL: postgres.url, TEMPORAL_ADDRESS: temporal.address }).ready();
      const runtime = await run.runtime();
      expect(runtime.postgres.url).to.equal(postgres.url);
      expect(runtime.temporal).to.deep.equal({ address: temporal.address, ui: null, namespace: 'default' });
      expect(runtime.pids).to.include({ postgres: null, temporal: null });
      expect(await run.stop()).to.equal(0);
      expect([identify(postgres.pid), identify(temporal.pid)].every(Boolean)).to.equal(true);
    } finally {
      await Promise.all([postgres.stop(), temporal.stop()]);
    }
  });

  it('says when the port that was asked for is taken', async () => {
    const port = await freePort();
    const holder = await hold(port);
    const run = start({ PORT: String(port) });
    expect(await run.ended).to.equal(1);
    expect(run.output).to.include(`PORT ${port} is taken on 127.0.0.1`);
    await new Promise(resolve => holder.close(resolve));
  });

  it('ends at once, and leaves nothing, when told twice because the app does not end', async () => {
    const run = await start({ STUBBORN: '1' }).ready();
    const pids = pidsOf(await run.runtime());
    run.kill('SIGINT');
    await waitFor(() => run.notes(), { what: 'the app to be told' });
    const ended = waitFor(
      () => {
        run.kill('SIGINT');
        return pids.every(pid => !identify(pid));
      },
      { everyMs: 200, timeoutMs: 8000, what: 'everything to be gone' },
    );
    expect(await run.ended).to.equal(1);
    await ended;
  });

  it('ends at once and completely when told to while it is starting', async () => {
    const run = start();
    await waitFor(() => readFile(join(root, 'data', 'run', 'postgres.json')), {
      timeoutMs: 30_000,
      what: 'a first part',
    });
    expect(await run.stop()).to.equal(0);
    expect(run.output).not.to.match(/could not start/);
    const left = await readFile(join(root, 'data', 'run', 'postgres.json')).catch(() => 'nothing');
    expect(left).to.equal('nothing');
  });
});

describe('npm start, once it is up', function () {
  this.timeout(120_000);
  let root = '';
  let run: Run;

  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'aymc-start-'));
    run = new Run(root, { FAILOVER_AFTER: '7m', AYMC_STOP_SERVERS_ON_EXIT: '0', EXTRA: 'kept' });
    await run.ready();
  });
  after(async () => {
    await run.stop();
    await rm(root, { recursive: true });
  });

  it('hands the app what it needs, and an agent nothing of the control plane', async () => {
    const runtime = await run.runtime();
    const app = await run.environmentOf('app');
    expect(app).to.include({
      DATABASE_URL: runtime.postgres.url,
      TEMPORAL_ADDRESS: runtime.temporal.address,
      PORT: new URL(runtime.api).port,
      FAILOVER_AFTER: '7m',
      AYMC_STOP_SERVERS_ON_EXIT: '0',
      EXTRA: 'kept',
    });
    expect(app['JWT_SECRET']).to.be.a('string').with.length.at.least(32);
    const agent = await run.environmentOf('local-1');
    expect(agent).to.include({ AGENT_ID: 'local-1', AYMC_URL: runtime.api, EXTRA: 'kept' });
    expect(agent).not.to.have.any.keys('JWT_SECRET', 'DATABASE_URL', 'TEMPORAL_ADDRESS', 'FAILOVER_AFTER');
  });

  it('registers its agent with a sealed token, once', async () => {
    const { postgres, agents } = await run.runtime();
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    const { rows } = await client.query<Record<string, unknown>>(
      "SELECT agent_id, host(ip_address) || ':' || port AS address, work_dir, tls_mode, token FROM agents",
    );
    await client.end();
    const agent = agents[0];
    expect(rows).to.have.length(1);
    expect(rows[0]).to.include({ agent_id: 'local-1', address: agent?.address, work_dir: agent?.data_dir });
    expect(rows[0]?.['token'])
      .to.be.a('string')
      .that.does.not.include(String((await run.environmentOf('local-1'))['AGENT_TOKEN']));
  });

  for (const part of ['api', 'temporal', 'postgres', 'agent'] as const) {
    it(`starts ${part} again where it was when it dies, says so, and keeps runtime.json current`, async () => {
      const before = await run.runtime();
      const pidIn = ({ pids, agents }: Runtime) => (part === 'agent' ? agents[0]?.pid : pids[part]);
      const victim = pidIn(before) ?? 0;
      process.kill(victim, 'SIGKILL');
      const after = await waitFor(
        async () => {
          const runtime = await run.runtime();
          const pid = pidIn(runtime);
          return pid && pid !== victim ? runtime : undefined;
        },
        { timeoutMs: 20_000, what: `${part} to run again` },
      );
      expect(run.output).to.match(/ended \(signal SIGKILL\); starting it again in 0\.5 s/);
      const where = ({ api, temporal, postgres, agents }: Runtime) => [
        api,
        temporal,
        postgres,
        agents[0]?.address,
      ];
      expect(where(after)).to.deep.equal(where(before));
    });
  }
});
