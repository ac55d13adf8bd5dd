import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import type { ClusterUser } from '#test/harness/clusterUser.js';
import { ConsoleWatcher } from '#test/harness/consoleWatcher.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { readHistory, readPage } from '#test/harness/logPages.js';
import { installMinecraftClient, joinServer, type MinecraftClient } from '#test/harness/minecraftClient.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import type { Target } from '#test/harness/processes.js';
import { waitFor } from '#test/harness/waitFor.js';
import { tableOf } from './table.js';

/** A million (AYMC_ADOPTION_LINES=1000000) is what the figures in the docs are of. */
const LINES = Number(process.env['AYMC_ADOPTION_LINES'] ?? 100_000);
/** Long enough for every fault below to strike while the server prints. */
const PRINTS_FOR_S = 60;
const FROZEN_MS = 3_000;
const STORED_WITHIN_MS = 10 * 60_000;

/** In this order, at even distances of lines. */
const FAULTS: readonly {
  name: string;
  part: 'agent' | 'worker' | 'api';
  strike: (part: Target) => Promise<void>;
}[] = [
  { name: 'kill −9', part: 'agent', strike: part => part.restart() },
  { name: 'kill −9', part: 'worker', strike: part => part.restart() },
  { name: 'SIGSTOP, SIGCONT', part: 'agent', strike: freezeForAWhile },
  { name: 'kill −9', part: 'agent', strike: part => part.restart() },
  { name: 'kill −9', part: 'api', strike: part => part.restart() },
  { name: 'SIGTERM and a new one', part: 'agent', strike: upgrade },
  { name: 'kill −9', part: 'worker', strike: part => part.restart() },
  { name: 'kill −9', part: 'agent', strike: part => part.restart() },
];

async function freezeForAWhile(part: Target): Promise<void> {
  part.freeze();
  await sleep(FROZEN_MS);
  part.thaw();
}

async function upgrade(part: Target): Promise<void> {
  await part.stop();
  await part.restart();
}

describe(`a server that prints ${LINES} lines while agent, workers and api die`, function () {
  this.timeout(20 * 60_000);
  let cluster: Cluster;
  let user: ClusterUser;
  let upstream: JarServer;
  let server: string;
  let pid: number;
  let player: MinecraftClient;
  let watcher: ConsoleWatcher;
  const table: string[][] = [];
  const figures: string[][] = [];

  before(async () => {
    const [jar] = await Promise.all([buildMinecraftJar(), installMinecraftClient()]);
    upstream = await serveJar(jar.path);
    cluster = await startCluster({ split: true });
    user = cluster.admin;
    const port = await freePort();
    const created = await user.create({ jarUrl: upstream.url, jarSha256: jar.sha256, port });
    server = created.id;
    expect(await user.ended(created.operationId)).to.include({ state: 'succeeded' });
    await addProperties(cluster.agent, server, { 'server-ip': '127.0.0.1' });
    watcher = new ConsoleWatcher(cluster.url, user, server);
    expect(await user.carry(server, 'start')).to.include({ state: 'succeeded' });
    [pid = 0] = await cluster.oracle.alive(server);
    player = await joinServer({ port, username: 'steve' });
    await printAndStrike();
  });
  after(async () => {
    await player?.quit();
    await watcher?.close();
    await cluster?.stop();
    await upstream?.close();
    process.stdout.write(`\n${tableOf(['fault', 'of the', 'at line', 'seconds'], table)}\n`);
    process.stdout.write(`\n${tableOf(['figure', 'value'], figures)}\n`);
  });

  async function printAndStrike(): Promise<void> {
    const begun = performance.now();
    const seconds = (): number => (performance.now() - begun) / 1000;
    const command = `flood ${LINES} ${Math.ceil(LINES / PRINTS_FOR_S)}`;
    expect(await user.send('POST', `/servers/${server}/command`, { command })).to.include({ status: 200 });
    for (const [at, { name, part, strike }] of FAULTS.entries()) {
      const due = Math.floor((LINES * (at + 1)) / (FAULTS.length + 1));
      await waitFor(async () => (await lastPrinted()) >= due, {
        timeoutMs: 2 * PRINTS_FOR_S * 1000,
        what: `line ${due} to be printed`,
      });
      const line = await lastPrinted();
      const struck = seconds();
      await strike(cluster.part(part));
      table.push([name, part, String(line), (seconds() - struck).toFixed(1)]);
    }
    await waitFor(async () => (await lastPrinted()) === LINES, {
      timeoutMs: 2 * PRINTS_FOR_S * 1000,
      what: 'the last line to be printed',
    });
    figures.push(['printed after', `${seconds().toFixed(1)} s`]);
    await waitFor(async () => numberOf((await readPage(user, server, { limit: 1 }))[0]?.message) === LINES, {
      timeoutMs: STORED_WITHIN_MS,
      everyMs: 100,
      what: 'the last line to be stored',
    });
    const stored = seconds();
    figures.push(['stored after', `${stored.toFixed(1)} s = ${Math.round(LINES / stored)} lines/s`]);
  }

  /** As it stands in the server's own log. */
  async function lastPrinted(): Promise<number> {
    const log = await open(join(cluster.agent.process.workDir, server, 'logs/latest.log'));
    try {
      const { size } = await log.stat();
      const tail = Buffer.alloc(Math.min(size, 1_000));
      await log.read(tail, 0, tail.length, size - tail.length);
      return Math.max(
        0,
        ...tail
          .toString()
          .split('\n')
          .slice(1, -1)
          .flatMap(line => numberOf(line) ?? []),
      );
    } finally {
      await log.close();
    }
  }

  it('is the same process all the time, and nobody thought otherwise', async () => {
    expect(await cluster.oracle.alive(server)).to.deep.equal([pid]);
    expect(await cluster.oracle.starts(server)).to.equal(1);
    expect(await user.server(server)).to.include({
      status: 'running',
      desired_state: 'running',
      operation_id: null,
    });
    const { body } = await user.send('GET', `/operations?server_id=${server}`);
    expect(body, 'its provision and its start').to.have.lengthOf(2);
  });

  it('keeps its player', async () => {
    player.chat('still here');
    await player.waitForChat(/still here/);
  });

  it('has every line in its history, once and in order', async () => {
    const begun = performance.now();
    const history = await readHistory(user, server);
    figures.push(['read by pages in', `${((performance.now() - begun) / 1000).toFixed(1)} s`]);
    expect(history.filter(line => line.includes('are lost'))).to.deep.equal([]);
    expectAll(history);
  });

  it('has shown every line to who has watched it over Socket.IO', async () => {
    const begun = performance.now();
    await waitFor(() => watcher.lines.findLast(line => numberOf(line) === LINES), {
      timeoutMs: STORED_WITHIN_MS,
      everyMs: 100,
      what: 'the last line to be shown',
    });
    await watcher.close();
    figures.push(
      ['shown after further', `${((performance.now() - begun) / 1000).toFixed(1)} s`],
      ['connections, gaps read up', `${watcher.connections}, ${watcher.gaps}`],
    );
    expectAll(watcher.lines);
    expect(watcher.connections, 'the api was killed once').to.be.greaterThan(1);
  });

  function expectAll(lines: readonly string[]): void {
    const numbers = lines.flatMap(line => numberOf(line) ?? []);
    const wrong = numbers.findIndex((number, index) => number !== index + 1);
    const around = wrong === -1 ? [] : numbers.slice(Math.max(0, wrong - 2), wrong + 3);
    expect(around, 'around the first that is out of order').to.deep.equal([]);
    expect(numbers.length).to.equal(LINES);
  }
});

function numberOf(line = ''): number | undefined {
  const number = /\bflood (\d+) of \d+$/.exec(line)?.[1];
  return number === undefined ? undefined : Number(number);
}
