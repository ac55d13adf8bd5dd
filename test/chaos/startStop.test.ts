import { expect } from 'chai';
import { addProperties, startCluster, type Cluster } from '#test/harness/cluster.js';
import { installTraps } from '#test/harness/faults.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import { nameOf, roundsOf, type KillCase, type PartName } from './killCases.js';
import { KillTable } from './killTable.js';
import {
  AGENT_OF_SERVER,
  casesOf,
  complaintsOf,
  findOutcome,
  serverOf,
  type StartStopOutcome,
} from './startStopCases.js';
import { strike, withLogs } from './strike.js';

/** Most of a case is waiting for time-outs, so two clusters go through theirs at the same time. */
const LANES: PartName[][] = [
  ['worker', 'postgres'],
  ['agent', 'api', 'temporal'],
];
/** A held write keeps its connection, and the worker tries it again with another one. */
const ENOUGH_CONNECTIONS = '60';

interface Server {
  id: string;
  port: number;
  /** Index of its agent. */
  agent: number;
}

interface Lane {
  cluster: Cluster;
  servers: readonly Server[];
}

describe('kill −9 at every step boundary of a start and a stop', function () {
  this.timeout(10 * 60_000);
  let upstream: JarServer;
  const clusters: Cluster[] = [];
  const table = new KillTable<StartStopOutcome>();

  before(async () => {
    const jar = await buildMinecraftJar();
    upstream = await serveJar(jar.path);
    await Promise.all(
      LANES.map(async parts => {
        const lane = await openLane({ jarUrl: upstream.url, jarSha256: jar.sha256 }, clusters);
        const rounds = parts.flatMap(part => [
          ...roundsOf(casesOf(part, 'start')),
          ...roundsOf(casesOf(part, 'stop')),
        ]);
        table.run(rounds, round => withLogs(lane.cluster, carryOut(lane, round)));
      }),
    );
  });
  after(async () => {
    await table.ended();
    await Promise.all(clusters.map(cluster => cluster.stop()));
    await upstream?.close();
    table.print();
  });

  for (const part of LANES.flat()) {
    describe(`of the ${part} leaves one process, one recorded end and a true status`, () => {
      for (const what of [...casesOf(part, 'start'), ...casesOf(part, 'stop')]) {
        it(`at "${nameOf(what.boundary)}" of a ${what.verb}`, async () => {
          expect(complaintsOf(what, await table.outcomeOf(what))).to.deep.equal([]);
        });
      }
    });
  }
});

async function openLane(jar: { jarUrl: string; jarSha256: string }, clusters: Cluster[]): Promise<Lane> {
  const cluster = await startCluster({
    split: true,
    ownEngines: true,
    agents: Math.max(...AGENT_OF_SERVER) + 1,
    env: { DB_POOL_MAX: ENOUGH_CONNECTIONS },
  });
  clusters.push(cluster);
  await installTraps(cluster.databaseUrl);
  const servers = await Promise.all(AGENT_OF_SERVER.map(agent => addServer(cluster, jar, agent)));
  return { cluster, servers };
}

async function addServer(
  { admin, agents }: Cluster,
  jar: { jarUrl: string; jarSha256: string },
  at: number,
): Promise<Server> {
  const agent = agents[at];
  if (!agent) throw new Error(`there is no agent ${at}`);
  const port = await freePort();
  const { id, operationId } = await admin.create({ ...jar, port, agentId: agent.id });
  const { state } = await admin.ended(operationId);
  if (state !== 'succeeded') throw new Error(`the server could not be provisioned: ${state}`);
  await addProperties(agent, id, { 'server-ip': '127.0.0.1' });
  return { id, port, agent: at };
}

async function carryOut(
  { cluster, servers }: Lane,
  round: readonly KillCase[],
): Promise<Promise<StartStopOutcome>[]> {
  const [first] = round;
  if (!first) return [];
  const cast = round.map(what => {
    const server = servers[serverOf(what)];
    if (!server) throw new Error(`no server for "${nameOf(what.boundary)}"`);
    return { server, victim: { what, serverId: server.id, agent: server.agent } };
  });
  await Promise.all(cast.map(({ server }) => makeReady(cluster, server, first)));
  let pids = new Map<string, number[]>();
  const victims = cast.map(({ victim }) => victim);
  const struck = await strike(cluster, first.part, victims, async () => {
    pids = await cluster.oracle.aliveOf();
  });
  return cast.map(({ victim, server: { id, port } }) => {
    const known = { port, pidsBefore: pids.get(id) ?? [] };
    return withLogs(cluster, findOutcome(cluster, struck, victim, known));
  });
}

/** Where the case before has failed, this one must not suffer from it. */
async function makeReady({ admin }: Cluster, { id }: Server, { verb }: KillCase): Promise<void> {
  const { status } = await admin.server(id);
  if (verb === 'start' && status !== 'stopped') await admin.carry(id, 'stop');
  if (verb === 'stop' && status !== 'running') await admin.carry(id, 'start');
}
