import { expect } from 'chai';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { SHARED_CLASSES } from '#test/harness/clusterUser.js';
import { installTraps } from '#test/harness/faults.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import {
  casesOf,
  complaintsOf,
  killAt,
  nameOf,
  titleOf,
  type KillCase,
  type Outcome,
  type PartName,
} from './killCases.js';
import { tableOf } from './table.js';

/**
 * Most of a case is waiting for time-outs and for processes to start, so two clusters go through theirs at the same
 * time.
 */
const LANES: PartName[][] = [
  ['worker', 'postgres'],
  ['agent', 'api', 'temporal'],
];

interface Lane {
  cluster: Cluster;
  serverId: string;
  port: number;
}

describe('kill −9 at every step boundary of a start and a stop', function () {
  this.timeout(10 * 60_000);
  let upstream: JarServer;
  const lanes: Lane[] = [];
  const outcomes = new Map<string, Promise<Outcome>>();
  const table: string[][] = [];

  before(async () => {
    const jar = await buildMinecraftJar();
    upstream = await serveJar(jar.path);
    await Promise.all(
      LANES.map(async parts => {
        const lane = await openLane({ jarUrl: upstream.url, jarSha256: jar.sha256 }, lanes);
        runInTurn(lane, parts.flatMap(casesOf));
      }),
    );
  });
  after(async () => {
    await Promise.all(outcomes.values()).catch(() => undefined);
    await Promise.all(lanes.map(({ cluster }) => cluster.stop()));
    await upstream?.close();
    const header = ['killed', 'at', 'of a', 'ended as', 'seconds to truth', '… to the next event'];
    process.stdout.write(`\n${tableOf(header, table)}\n`);
  });

  for (const part of LANES.flat()) {
    describe(`of the ${part} leaves one process, one recorded end and a true status`, () => {
      for (const what of casesOf(part)) {
        it(`at "${nameOf(what.boundary)}" of a ${what.verb}`, async () => {
          const outcome = await outcomes.get(titleOf(what));
          if (!outcome) throw new Error('this case was not run');
          table.push(rowOf(what, outcome));
          expect(complaintsOf(what, outcome)).to.deep.equal([]);
        });
      }
    });
  }

  /** Each case begins when the one before it has ended, whichever way. */
  function runInTurn(lane: Lane, cases: readonly KillCase[]): void {
    let before: Promise<unknown> = Promise.resolve();
    for (const what of cases) {
      const outcome = before.then(() => carryOut(lane, what));
      before = outcome.catch(() => undefined); // told by the case's own test
      outcomes.set(titleOf(what), outcome);
    }
  }
});

async function openLane(jar: { jarUrl: string; jarSha256: string }, lanes: Lane[]): Promise<Lane> {
  const cluster = await startCluster({ split: true, ownEngines: true });
  const lane = { cluster, serverId: '', port: await freePort() };
  lanes.push(lane);
  await installTraps(cluster.databaseUrl);
  const { id, operationId } = await cluster.admin.create({ ...jar, port: lane.port, extra: SHARED_CLASSES });
  const { state } = await cluster.admin.ended(operationId);
  if (state !== 'succeeded') throw new Error(`the server could not be provisioned: ${state}`);
  lane.serverId = id;
  await addProperties(cluster.agent, id, { 'server-ip': '127.0.0.1' });
  return lane;
}

async function carryOut({ cluster, serverId, port }: Lane, what: KillCase): Promise<Outcome> {
  try {
    const { status } = await cluster.admin.server(serverId);
    // Where the case before has failed, this one must not suffer from it.
    if (what.verb === 'start' && status !== 'stopped') await cluster.admin.carry(serverId, 'stop');
    if (what.verb === 'stop' && status !== 'running') await cluster.admin.carry(serverId, 'start');
    return await killAt(cluster, serverId, port, what);
  } catch (cause) {
    throw new Error(`${String(cause)}\n${await cluster.logTails()}`, { cause });
  }
}

function rowOf({ part, boundary, verb }: KillCase, outcome: Outcome): string[] {
  const { operation, secondsToTruth, secondsToNextEvent } = outcome;
  return [
    part,
    nameOf(boundary),
    verb,
    operation.state,
    secondsToTruth.toFixed(1),
    secondsToNextEvent?.toFixed(1) ?? '–',
  ];
}
