import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startCluster, type Cluster } from '#test/harness/cluster.js';
import { installTraps } from '#test/harness/faults.js';
import { countInstallers, InstallerWatch } from '#test/harness/installerWatch.js';
import { waitFor } from '#test/harness/waitFor.js';
import { buildServer } from '../build.js';
import { nameOf, titleOf } from './killCases.js';
import {
  AGENTS,
  VERSIONS,
  type InstallerFacts,
  type ProvisionCase,
  type ProvisionOutcome,
} from './provisionCases.js';
import { startProvisionUpstreams, type Artifact, type Upstreams } from './provisionUpstreams.js';
import { settle, strike, withLogs, type Strike, type Victim } from './strike.js';

const HALFWAY_MS = 60_000;

/** The server of a case. */
interface Subject {
  readonly victim: Victim;
  readonly artifact: Artifact;
  /** Of its agent. */
  readonly workDir: string;
}

/** A cluster with upstreams of its own. */
export interface ProvisionLane {
  readonly cluster: Cluster;
  readonly upstreams: Upstreams;
}

/** `onOpen` is told of what is to be closed, also when this rejects later. */
export async function openLane(onOpen: (opened: { close(): Promise<void> }) => void): Promise<ProvisionLane> {
  const upstreams = await startProvisionUpstreams(VERSIONS);
  onOpen(upstreams);
  const { env } = upstreams;
  const cluster = await startCluster({ split: true, ownEngines: true, agents: AGENTS, env });
  onOpen({ close: () => cluster.stop() });
  await installTraps(cluster.databaseUrl);
  return { cluster, upstreams };
}

/** A server that was never provisioned. */
async function makeSubject({ cluster, upstreams }: ProvisionLane, what: ProvisionCase): Promise<Subject> {
  const agent = cluster.agents[what.agent];
  const artifact = what.artifact === 'forge' ? upstreams.forge : upstreams.vanilla[what.artifact];
  if (!agent || !artifact) throw new Error(`${titleOf(what)} has no agent or no artefact`);
  const { type, version } = artifact;
  const columns = { installed: false, agent_id: agent.id, server_type: type, version };
  const { id } = await buildServer(cluster.db, columns);
  return { victim: { what, serverId: id, agent: what.agent }, artifact, workDir: agent.process.workDir };
}

/** One kill for the servers of all these cases. */
export async function carryOut(
  lane: ProvisionLane,
  round: readonly ProvisionCase[],
): Promise<Promise<ProvisionOutcome>[]> {
  const { cluster, upstreams } = lane;
  const cast = await Promise.all(round.map(what => makeSubject(lane, what)));
  const [first] = cast;
  if (!first) return [];
  await forgetArtifacts(cluster);
  const accounts = cast.map(({ artifact }) => openAccount(artifact));
  const forge = cast.find(({ artifact }) => artifact === upstreams.forge);
  const installer = forge && (await holdInstaller(upstreams, forge.workDir));
  for (const { victim, artifact } of cast)
    if (nameOf(victim.what.boundary) === 'partly downloaded') artifact.slowDown();

  const { part } = first.victim.what;
  const victims = cast.map(({ victim }) => victim);
  const struck = await strike(cluster, part, victims).catch(async (error: unknown) => {
    await installer?.end();
    throw error;
  });
  const facts = installer?.letGo(part === 'agent' ? 2 : 1);
  facts?.catch(() => undefined); // told with the outcome of the Forge
  return cast.map(async (subject, at) => {
    const outcome = await withLogs(cluster, findOutcome(cluster, struck, subject));
    const account = (accounts[at] ?? neverOpened)();
    return { ...outcome, ...account, installer: subject === forge ? await facts : undefined };
  });
}

/** Where every download comes from the upstream. */
async function forgetArtifacts({ agents }: Cluster): Promise<void> {
  for (const { process } of agents)
    await rm(join(process.workDir, '.aymc/cache'), { recursive: true, force: true });
}

type Account = Pick<ProvisionOutcome, 'downloads' | 'questions' | 'artifactBytes'>;

/** What has been asked of the upstreams from now on. */
function openAccount({ downloads, questions, bytes }: Artifact): () => Account {
  const before = { downloads: downloads().length, questions: questions() };
  return () => ({
    downloads: downloads().slice(before.downloads),
    questions: questions() - before.questions,
    artifactBytes: bytes,
  });
}

function neverOpened(): never {
  throw new Error('nobody has counted');
}

/** The next installer below that folder stops halfway. */
async function holdInstaller({ installer }: Upstreams, workDir: string) {
  const before = { halfway: await installer.count('halfway'), runs: await installer.count('runs') };
  await installer.ask('hold');
  const watch = new InstallerWatch(workDir);
  return {
    /** Once it has been halfway so often; resolves when none runs any more. */
    async letGo(times: number): Promise<InstallerFacts> {
      try {
        await waitFor(async () => (await installer.count('halfway')) >= before.halfway + times, {
          timeoutMs: HALFWAY_MS,
          what: 'the installer to be halfway',
        });
        await installer.takeBack('hold');
        await waitFor(async () => (await countInstallers(workDir)) === 0, {
          timeoutMs: HALFWAY_MS,
          what: 'the installer to end',
        });
        return { runs: (await installer.count('runs')) - before.runs, mostAtOnce: watch.most };
      } finally {
        await this.end();
      }
    },
    async end(): Promise<void> {
      await installer.takeBack('hold');
      await watch.stop();
    },
  };
}

type Found = Omit<ProvisionOutcome, keyof Account | 'installer'>;

async function findOutcome(cluster: Cluster, struck: Strike, subject: Subject): Promise<Found> {
  const { victim, artifact, workDir } = subject;
  const path = join(workDir, victim.serverId, artifact.file);
  const seen = { installed: false, installedTooSoon: false };
  const meanwhile = async (): Promise<void> => {
    seen.installed = (await cluster.admin.server(victim.serverId)).installed;
    seen.installedTooSoon ||= seen.installed && (await sha256Of(path)) !== artifact.sha256;
  };
  // Once it has ended there is nothing to wait for: what is not so then is a complaint.
  const isTrue = async (): Promise<boolean> => true;
  const outcome = await settle(cluster, struck, victim, { isTrue, meanwhile });
  await meanwhile();
  return { ...outcome, ...seen };
}

async function sha256Of(path: string): Promise<string | undefined> {
  const content = await readFile(path).catch(() => undefined);
  return content && createHash('sha256').update(content).digest('hex');
}
