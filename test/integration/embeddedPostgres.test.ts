import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pg from 'pg';
import { freePort } from '../../processes/dev/ports.js';
import { startPostgres, type EmbeddedPostgres } from '../../processes/dev/postgresServer.js';

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows }: { rows: unknown[] } = await client.query(sql);
    return rows;
  } finally {
    await client.end();
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'it worked',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}

describe('embedded PostgreSQL', function () {
  this.timeout(60_000);
  let root = '';
  const running: EmbeddedPostgres[] = [];

  async function start(dataDir = root, port?: number): Promise<EmbeddedPostgres> {
    const chosen = port ?? (await freePort());
    const postgres = await startPostgres({ dataDir, port: chosen, fsync: false });
    running.push(postgres);
    return postgres;
  }

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'aymc-postgres-'));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map(postgres => postgres.stop()));
    await rm(root, { recursive: true });
  });

  it('starts from nothing, answers queries, and keeps its data over a stop and a start', async () => {
    const first = await start();
    await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    await first.stop();
    expect((await first.exited).code).to.equal(0);
    const second = await start();
    expect(await query(second.url, 'SELECT answer FROM kept')).to.deep.equal([{ answer: 42 }]);
  });

  it('lets nobody in without the password, which only its owner can read', async () => {
    const postgres = await start();
    const wrong = new URL(postgres.url);
    wrong.password = 'wrong';
    expect(await failure(query(wrong.href, 'SELECT 1'))).to.match(/password authentication failed/);
    expect((await stat(join(root, 'secrets', 'postgres-password'))).mode & 0o777).to.equal(0o600);
    expect((await stat(join(root, 'postgres'))).mode & 0o777).to.equal(0o700);
  });

  it('listens on the loopback address only', async () => {
    const postgres = await start();
    expect(await query(postgres.url, 'SHOW listen_addresses')).to.deep.equal([
      { listen_addresses: '127.0.0.1' },
    ]);
  });

  it('works in a folder whose path is longer than a socket name may be', async () => {
    const deep = join(root, 'a'.repeat(60), 'b'.repeat(60));
    expect(await query((await start(deep)).url, 'SELECT 1 AS one')).to.deep.equal([{ one: 1 }]);
  });

  it('refuses a second start while one serves the folder, and a taken port', async () => {
    const postgres = await start();
    expect(await failure(start())).to.match(/another process runs PostgreSQL/);
    const other = join(root, 'other');
    expect(await failure(start(other, postgres.port))).to.match(/port \d+ is taken/);
  });

  it('takes a free port when the usual one is taken', async () => {
    const holder = createServer();
    await new Promise<void>(resolve =>
      holder.once('error', () => resolve()).listen(5432, '127.0.0.1', resolve),
    );
    const postgres = await startPostgres({ dataDir: root, fsync: false });
    running.push(postgres);
    holder.close();
    expect(postgres.port).not.to.equal(5432);
  });

  it('starts again after kill −9, with what was committed', async () => {
    const first = await start();
    await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS one');
    process.kill(first.pid, 'SIGKILL');
    expect((await first.exited).signal).to.equal('SIGKILL');
    const second = await start(root, first.port);
    expect(await query(second.url, 'SELECT one FROM kept')).to.deep.equal([{ one: 1 }]);
  });

  it('is not fooled by a postmaster.pid whose number now belongs to someone else', async () => {
    const first = await start();
    await first.stop();
    const innocent = process.ppid;
    await writeFile(join(root, 'postgres', 'data', 'postmaster.pid'), `${innocent}\n/elsewhere\n`);
    await start();
    expect(() => process.kill(innocent, 0)).not.to.throw();
  });

  it('says what to do when the password file is gone', async () => {
    await (await start()).stop();
    await rm(join(root, 'secrets'), { recursive: true });
    expect(await failure(start())).to.match(/its password is gone from .*postgres-password/);
  });

  it('says which release the data needs when this machine has others', async () => {
    await (await start()).stop();
    const version = join(root, 'postgres', 'data', 'PG_VERSION');
    expect(await readFile(version, 'utf8')).to.match(/^\d+\n$/);
    await writeFile(version, '12\n');
    expect(await failure(start())).to.match(/made by PostgreSQL 12/);
  });
});
