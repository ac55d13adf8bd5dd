import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import type { LogEntry, PluginResponse, ServerResponse } from '#proto/gen/agent.js';
import { type AgentClient, collect, connectAgent } from '#test/harness/agentClient.js';
import { tinyJar } from '#test/harness/fakeJava.js';
import { makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const CONFIG = {
  minRam: '64M',
  maxRam: '1G',
  javaArgs: [],
  jarFile: 'server.jar',
  autoRestart: false,
  customArgs: {},
};

describe('agent, version 1 of the wire', function () {
  this.timeout(30_000);

  let agent: ShellAgent;
  let client: AgentClient;
  let serverId: string;
  const jar = tinyJar(randomBytes(10_000).toString('hex'));

  before(async () => {
    agent = await makeShellAgent(jar);
    client = connectAgent(agent.process);
  });

  after(async () => {
    client.close();
    await agent.stop();
  });

  beforeEach(async () => {
    serverId = randomUUID();
    const folder = join(agent.process.workDir, serverId);
    await mkdir(folder);
    await writeFile(join(folder, 'server.jar'), jar);
    await writeFile(join(folder, 'eula.txt'), 'eula=true\n');
  });

  const path = (name: string): string => join(agent.process.workDir, serverId, name);

  const start = (config = CONFIG, metadata: Record<string, string> = {}): Promise<ServerResponse> =>
    client.call(
      (m, answer) =>
        client.raw.startServer(
          { serverId, name: 'Survival', type: 'paper', version: '1.21.4', config },
          m,
          answer,
        ),
      metadata,
    );
  const stop = (): Promise<ServerResponse> =>
    client.call((m, answer) => client.raw.stopServer({ serverId }, m, answer));

  async function refusal(call: Promise<unknown>): Promise<{ grpc: number; code: unknown }> {
    const error = await call.then(
      () => undefined,
      (reason: ServiceError) => reason,
    );
    if (error === undefined) throw new Error('expected a refusal');
    return { grpc: error.code, code: error.metadata.get('aymc-code')[0] };
  }

  it('starts when ready, lists, restarts and stops a server, and describes it', async () => {
    const started = await start();
    expect(started).to.include({ success: true });
    const pid = started.server?.pid;
    expect(started.server).to.include({ id: serverId, name: 'Survival', status: 'running' });
    expect(started.server?.config).to.include({ minRam: '64M', maxRam: '1024M', jarFile: 'server.jar' });

    const again = await start();
    expect(again.server?.pid).to.equal(pid);
    const { servers } = await client.call<{ servers: { id: string }[] }>((m, answer) =>
      client.raw.listServers({}, m, answer),
    );
    expect(servers.map(({ id }) => id)).to.include(serverId);

    const restarted = await client.call<ServerResponse>((m, answer) =>
      client.raw.restartServer({ serverId }, m, answer),
    );
    expect(restarted.success).to.equal(true);
    expect(restarted.server?.pid).to.not.equal(pid);

    expect((await stop()).server?.status).to.equal('stopped');
    const info = await client.call<{ status: string }>((m, answer) =>
      client.raw.getServer({ serverId }, m, answer),
    );
    expect(info.status).to.equal('stopped');
    expect((await stop()).success, 'once more').to.equal(true);
  });

  it('tells failures of the domain in an answer, and those of the call as errors', async () => {
    await rm(path('eula.txt'));
    expect(await start())
      .to.include({ success: false })
      .and.property('message')
      .to.match(/^eula-not-accepted: /);
    await rm(path('server.jar'));
    expect((await start()).message).to.match(/^not-installed: /);

    serverId = 'not-a-uuid';
    expect(await refusal(start())).to.deep.equal({ grpc: status.INVALID_ARGUMENT, code: 'invalid-request' });
    serverId = randomUUID();
    const unknown = client.call((m, answer) => client.raw.getServer({ serverId }, m, answer));
    expect(await refusal(unknown)).to.deep.equal({ grpc: status.NOT_FOUND, code: 'not-found' });
  });

  it('answers a repeated start under the same pair with the first', async () => {
    const pair = { 'op-id': randomUUID(), step: 'start', 'request-id': 'req-4711' };
    const first = await start(CONFIG, pair);
    await stop();
    const again = await start(CONFIG, pair);
    expect(again.success).to.equal(true);
    expect(first.server?.status).to.equal('running');
    expect(again.server?.status, 'it was not started again').to.equal('stopped');
    expect(agent.process.logs()).to.include('"request_id":"req-4711"');
  });

  it('refuses a call without the token, and never logs the token', async () => {
    const naked = new Promise((resolve, reject) => {
      client.raw.ping({}, (error, response) => (error ? reject(error) : resolve(response)));
    });
    expect(await refusal(naked)).to.deep.equal({ grpc: status.UNAUTHENTICATED, code: 'unauthenticated' });
    expect(agent.process.logs()).to.not.include(agent.process.token);
  });

  it('streams the console from now on, parsed', async () => {
    await start();
    const stream = client.raw.streamLogs({ serverId }, client.metadata());
    const entries: LogEntry[] = [];
    stream.on('data', (entry: LogEntry) => entries.push(entry));
    stream.on('error', () => undefined);
    await waitFor(
      async () => {
        await client.call((m, answer) =>
          client.raw.sendCommand({ serverId, command: 'say hello' }, m, answer),
        );
        return entries.length > 0;
      },
      { what: 'a line' },
    );
    stream.cancel();
    expect(entries[0]).to.include({
      serverId,
      level: 'INFO',
      source: 'Server thread',
      message: '[Server] hello',
    });
    await stop();
  });

  it('reads, writes and lists files of the server, and nothing else', async () => {
    const file = `${serverId}/plugins/a.yml`;
    await client.call((m, answer) =>
      client.raw.writeFile({ path: file, content: Buffer.from('a: b'), createDirs: true }, m, answer),
    );
    const read = await client.call<{ content: Uint8Array; size: number }>((m, answer) =>
      client.raw.readFile({ path: file, offset: 3, length: 1 }, m, answer),
    );
    expect(Buffer.from(read.content).toString()).to.equal('b');
    expect(read.size).to.equal(4);
    const listed = await client.call<{ files: { path: string }[] }>((m, answer) =>
      client.raw.listFiles({ path: serverId, recursive: true }, m, answer),
    );
    expect(listed.files.map(entry => entry.path)).to.include(file);

    await symlink('/etc', path('out'));
    for (const bad of [
      '/etc/passwd',
      `${serverId}/../../etc/passwd`,
      `${serverId}/out/passwd`,
      '.aymc/ledger.jsonl',
    ]) {
      const call = client.call((m, answer) =>
        client.raw.readFile({ path: bad, offset: 0, length: 0 }, m, answer),
      );
      expect(await refusal(call), bad).to.deep.equal({ grpc: status.INVALID_ARGUMENT, code: 'invalid-path' });
    }
  });

  it('downloads a server jar to its place, verified, with progress', async () => {
    const request = {
      url: agent.upstream.url,
      destination: `${serverId}/downloaded.jar`,
      sha256: createHash('sha256').update(jar).digest('hex'),
      serverType: 'paper',
      version: '1.21.4',
    };
    const progress = await collect(client.raw.downloadServer(request, client.metadata()));
    expect(progress.at(-1)).to.include({ complete: true, error: '', downloaded: jar.length });
    expect((await readFile(path('downloaded.jar'))).equals(jar)).to.equal(true);

    const wrong = { ...request, sha256: 'a'.repeat(64), destination: `${serverId}/wrong.jar` };
    const failed = await collect(client.raw.downloadServer(wrong, client.metadata()));
    expect(failed.at(-1)?.error).to.match(/^checksum-mismatch: /);
    expect(await readFile(path('wrong.jar')).catch(() => undefined)).to.equal(undefined);
  });

  it('installs, lists, updates and uninstalls plugins', async () => {
    await start(); // makes the server known
    await stop();
    const install = (downloadUrl: string): Promise<PluginResponse> =>
      client.call((m, answer) =>
        client.raw.installPlugin(
          {
            serverId,
            pluginName: 'Essentials',
            downloadUrl,
            fileName: 'Essentials-2.20.jar',
            version: '2.20',
            autoRestart: false,
          },
          m,
          answer,
        ),
      );
    expect((await install(agent.upstream.urlWith('html-page'))).message).to.match(/^upstream-not-a-jar: /);
    const installed = await install(agent.upstream.url);
    expect(installed).to.include({ success: true });
    expect(installed.plugin).to.include({ fileName: 'Essentials-2.20.jar', enabled: true });

    const updated = await client.call<PluginResponse>((m, answer) =>
      client.raw.updatePlugin(
        {
          serverId,
          pluginName: 'Essentials-2.20',
          downloadUrl: agent.upstream.url,
          fileName: 'Essentials-2.21.jar',
          newVersion: '2.21',
          autoRestart: false,
        },
        m,
        answer,
      ),
    );
    expect(updated.success).to.equal(true);
    await writeFile(path('plugins/Off.jar.disabled'), jar);
    const list = async (includeDisabled: boolean): Promise<string[]> => {
      const { plugins } = await client.call<{ plugins: { fileName: string }[] }>((m, answer) =>
        client.raw.listPlugins({ serverId, includeDisabled }, m, answer),
      );
      return plugins.map(({ fileName }) => fileName);
    };
    expect(await list(false)).to.deep.equal(['Essentials-2.21.jar']);
    expect(await list(true)).to.deep.equal(['Essentials-2.21.jar', 'Off.jar.disabled']);

    const removed = await client.call<PluginResponse>((m, answer) =>
      client.raw.uninstallPlugin(
        {
          serverId,
          pluginName: 'Essentials-2.21',
          deleteConfig: false,
          deleteData: false,
          autoRestart: false,
        },
        m,
        answer,
      ),
    );
    expect(removed.success).to.equal(true);
    expect(await list(false)).to.deep.equal([]);
  });

  it('says what host it is on', async () => {
    const metrics = await client.call<{ memoryTotal: number; openPorts: number[]; diskTotal: number }>(
      (m, answer) => client.raw.getSystemMetrics({}, m, answer),
    );
    expect(metrics.openPorts).to.include(agent.process.port);
    expect(metrics.diskTotal).to.be.greaterThan(0);
    const dependencies = await client.call<{ javaInstalled: boolean; environment: Record<string, string> }>(
      (m, answer) => client.raw.checkDependencies({}, m, answer),
    );
    expect(dependencies.javaInstalled).to.equal(true);
    expect(dependencies.environment['flock']).to.match(/flock$/);
  });

  it('says plainly what it does not do', async () => {
    const java = await client.call<{ success: boolean; message: string }>((m, answer) =>
      client.raw.installJava({ version: '21', useSudo: false }, m, answer),
    );
    expect(java)
      .to.include({ success: false })
      .and.property('message')
      .to.match(/^agent-unsupported: /);
  });
});
