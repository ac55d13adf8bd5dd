import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import type { ServerType } from '#src/db/types.js';
import { startCluster, type Cluster } from '#test/harness/cluster.js';
import type { ClusterUser } from '#test/harness/clusterUser.js';
import { buildInstallerJar, type InstallerJar } from '#test/harness/installerJars.js';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';
import { requireJdk } from '#test/harness/java.js';
import { installMinecraftClient, joinServer, type MinecraftClient } from '#test/harness/minecraftClient.js';
import { buildMinecraftJar, minecraftJavaMajor, type MinecraftJar } from '#test/harness/minecraftJar.js';
import { waitFor } from '#test/harness/waitFor.js';
import { startUpstreams, type LocalUpstreams } from '#test/upstreams/upstreams.js';

const VERSION = '1.21.4';
const CONTACT = 'ops@example.test';
const FORGE = 'net/minecraftforge/forge/1.21.4-54.1.0';
const FORGE_HOME = `libraries/${FORGE}`;

interface TypeCase {
  type: ServerType;
  /** What the agent is sent, and which hash of it it keeps it by; `url` where the upstream publishes none. */
  artifact: 'server' | 'forgeInstaller' | 'buildTools';
  keptBy: 'sha256' | 'sha1' | 'md5' | 'url';
  /** Where the Minecraft server is then, below the server's folder, and how Java is given it. */
  jar: string;
  startedAs: readonly string[];
}

const PLAIN = { artifact: 'server', jar: 'server.jar', startedAs: ['-jar', 'server.jar', 'nogui'] } as const;

/** What each type's upstream has the agent do. Behind every jar is the Minecraft server of the tests. */
const TYPES: readonly TypeCase[] = [
  { type: 'vanilla', ...PLAIN, keptBy: 'sha1' },
  { type: 'paper', ...PLAIN, keptBy: 'sha256' },
  { type: 'purpur', ...PLAIN, keptBy: 'md5' },
  { type: 'fabric', ...PLAIN, keptBy: 'url' },
  {
    type: 'forge',
    artifact: 'forgeInstaller',
    keptBy: 'sha1',
    jar: `${FORGE_HOME}/forge-1.21.4-54.1.0-server.jar`,
    startedAs: [`@${FORGE_HOME}/unix_args.txt`, 'nogui'],
  },
  { type: 'spigot', ...PLAIN, artifact: 'buildTools', keptBy: 'url' },
];

/** Servers of a type and a version and nothing else: the control plane finds out where to get them. */
describe('a server of a type and a version', function () {
  this.timeout(120_000);
  let jar: MinecraftJar;
  let installers: { forgeInstaller: InstallerJar; buildTools: InstallerJar };
  /** The bytes of what is served. */
  let served: Record<TypeCase['artifact'], Buffer>;
  let upstreams: LocalUpstreams;
  let quickWay: JarServer;
  let cluster: Cluster;
  let admin: ClusterUser;
  let players: MinecraftClient[];

  before(async function () {
    this.timeout(15 * 60_000);
    const [{ major }] = await Promise.all([requireJdk(minecraftJavaMajor), installMinecraftClient()]);
    jar = await buildMinecraftJar();
    const [forgeInstaller, buildTools] = await Promise.all([
      buildInstallerJar('ForgeInstaller', FORGE),
      buildInstallerJar('BuildTools'),
    ]);
    installers = { forgeInstaller, buildTools };
    served = {
      server: await readFile(jar.path),
      forgeInstaller: await readFile(forgeInstaller.path),
      buildTools: await readFile(buildTools.path),
    };
    upstreams = await startUpstreams(served.server, {
      forge: served.forgeInstaller,
      buildTools: served.buildTools,
      // Whatever Java this machine has.
      spigotBuilds: { [VERSION]: [major, major] },
    });
    quickWay = await serveJar(jar.path);
    cluster = await startCluster({
      env: { ...upstreams.env, UPSTREAM_CONTACT: CONTACT },
      agentEnv: { AGENT_SAMPLE_INTERVAL: '500ms' },
    });
    ({ admin } = cluster);
  });
  beforeEach(() => {
    players = [];
  });
  afterEach(() => Promise.all(players.map(player => player.quit())));
  after(async () => {
    await cluster?.stop();
    await quickWay?.close();
    await upstreams?.close();
    await Promise.all(Object.values(installers ?? {}).map(installer => installer.remove()));
  });

  const create = async (server_type: ServerType, version = VERSION, quick = {}) => {
    const port = await freePort();
    return { port, ...(await admin.create({ port, extra: { server_type, version }, ...quick })) };
  };
  const folderOf = (id: string) => join(cluster.agent.process.workDir, id);
  const succeeded = { state: 'succeeded', error: null };

  /** From its start to its stop, with a player on it. */
  async function play(id: string, port: number, startedAs: readonly string[]): Promise<void> {
    const properties = { 'server-ip': '127.0.0.1', 'online-mode': false };
    const changed = await admin.send('PUT', `/servers/${id}/files/config?path=server.properties`, properties);
    expect(changed.status).to.equal(200);
    expect(await admin.carry(id, 'start')).to.include(succeeded);
    const [pid, ...others] = await cluster.oracle.alive(id);
    expect(others).to.deep.equal([]);
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').filter(Boolean);
    expect(command.slice(-startedAs.length)).to.deep.equal(startedAs);

    const steve = await joinServer({ port, username: 'steve' });
    players.push(steve);
    await waitFor(async () => (await playersOn(id)) === 1, { what: 'steve to be seen online' });
    expect(await admin.carry(id, 'stop')).to.include(succeeded);
    expect(await steve.ended).to.equal('Server closed');
    expect(await cluster.oracle.alive(id)).to.deep.equal([]);
    expect(await admin.server(id)).to.include({ status: 'stopped', desired_state: 'stopped' });
  }

  async function playersOn(id: string): Promise<unknown> {
    const { body } = await admin.send('GET', `/servers/${id}/status`);
    return typeof body === 'object' && body !== null ? Reflect.get(body, 'players_online') : undefined;
  }

  /** Whether the agent has what was served in its cache, by that kind of key. */
  async function assertKept({ artifact, keptBy }: TypeCase): Promise<void> {
    const cache = join(cluster.agent.process.workDir, '.aymc/cache');
    const kept = (await readdir(cache)).filter(name => name.startsWith(`${keptBy}-`));
    const contents = await Promise.all(kept.map(name => readFile(join(cache, name))));
    expect(
      contents.some(content => content.equals(served[artifact])),
      `${artifact} among ${kept.join(', ')}`,
    ).to.equal(true);
  }

  /** The control plane and the agent, by their User-Agents. */
  function assertContactNamed(type: ServerType): void {
    const callers = new Set(upstreams.of[type].requests.map(({ userAgent }) => userAgent ?? ''));
    const agents = [...callers].filter(caller => caller.startsWith('aymc-agent/'));
    expect(agents, 'agents').to.have.lengthOf(1);
    for (const caller of callers) expect(caller.endsWith(` (${CONTACT})`), caller).to.equal(true);
  }

  for (const typeCase of TYPES) {
    const { type, jar: jarFile, startedAs } = typeCase;
    it(`is installed as ${type}, and played on`, async () => {
      const { id, operationId, port } = await create(type);
      expect(await admin.ended(operationId)).to.include(succeeded);
      await assertKept(typeCase);
      assertContactNamed(type);
      const installed = await readFile(join(folderOf(id), jarFile));
      expect(installed.equals(served.server), jarFile).to.equal(true);
      await play(id, port, startedAs);
    });
  }

  it('is installed as spigot from a jar_url, without building anything', async () => {
    const built = await installers.buildTools.count('runs');
    const quick = { jarUrl: quickWay.url, jarSha256: jar.sha256 };
    const { id, operationId, port } = await create('spigot', VERSION, quick);
    expect(await admin.ended(operationId)).to.include(succeeded);
    const installed = await readFile(join(folderOf(id), 'server.jar'));
    expect(installed.equals(served.server)).to.equal(true);
    await play(id, port, PLAIN.startedAs);
    expect(await installers.buildTools.count('runs')).to.equal(built);
    for (const { userAgent } of quickWay.requests)
      expect(userAgent, 'a host of the user’s is told no contact').to.match(/^aymc-agent\/\S+$/);
  });

  it('is not installed where there is no such version, and is as soon as it is given another', async () => {
    const { id, operationId } = await create('paper', '1.99.9');
    const failed = await admin.ended(operationId);
    expect(failed).to.include({ state: 'failed' });
    expect(failed.error).to.include({ code: 'artifact-unknown' });
    expect((await admin.send('GET', `/servers/${id}`)).body).to.include({ installed: false });
    expect((await admin.send('PUT', `/servers/${id}`, { version: VERSION })).status).to.equal(200);
    expect(await admin.carry(id, 'provision')).to.include(succeeded);
  });

  it('is installed when its upstream has come back from an outage', async () => {
    upstreams.of.vanilla.misbehave('error-500');
    const before = upstreams.of.vanilla.requests.length;
    const { operationId } = await create('vanilla');
    try {
      await waitFor(() => upstreams.of.vanilla.requests.length >= before + 2, {
        what: 'a second attempt',
      });
    } finally {
      upstreams.of.vanilla.misbehave(undefined);
    }
    expect(await admin.ended(operationId)).to.include(succeeded);
  });
});
