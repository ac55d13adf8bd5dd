import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { expect } from 'chai';
import { freePort } from '#processes/dev/ports.js';
import { ProcessState, type ServerResponse } from '#proto/gen/agent.js';
import { rows } from '#src/db/sql.js';
import { createFindProfile } from '#src/provisioning/mojangProfiles.js';
import { Upstream } from '#src/provisioning/upstream.js';
import { buildAgent, buildServer } from '#test/build.js';
import { type AgentClient, connectAgent } from '#test/harness/agentClient.js';
import { startAgentProcess, type AgentProcess } from '#test/harness/agentProcess.js';
import {
  codeOf,
  objectOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';
import { makeFakeJava, tinyJar, type FakeJava } from '#test/harness/fakeJava.js';
import { buildMinecraftJar } from '#test/harness/minecraftJar.js';
import { cheapJvmFlags } from '#test/harness/minecraftServer.js';
import { addressOf } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

/** The answers of vanilla that the Minecraft server of these tests does not know: each command does what the real one does to the file. */
const LISTING_SERVER = `
say 'Done (0.1s)! For help, type "help"'
while read -r line; do
  echo "$line" >> commands.txt
  case $line in
  stop) exit 0 ;;
  'whitelist add Ghost') say 'That player does not exist' ;;
  'whitelist add '*) printf '[{"uuid":"u","name":"%s"}]' "\${line#whitelist add }" > whitelist.json ;;
  'whitelist remove '*) echo '[]' > whitelist.json ;;
  'ban '*) set -- $line; name=$2; shift 2; printf '[{"uuid":"u","name":"%s","created":"2026-01-01 00:00:00 +0000","source":"Server","expires":"forever","reason":"%s"}]' "$name" "$*" > banned-players.json ;;
  'pardon '*) echo '[]' > banned-players.json ;;
  esac
done
`;
const STEVE_OFFLINE = '5627dd98-e6be-3c21-b8a8-e92344183641';
const NOTCH = '069a79f4-44e9-4726-a5be-fca90e38aaf5';

describe('whitelist, ops and bans over the API', function () {
  this.timeout(120_000);
  let mojang: Server;
  let api: TestApi;
  let user: ApiUser;
  let java: FakeJava;
  let agent: AgentProcess;
  let client: AgentClient;
  let agentRow: string;
  let serverId: string;
  let folder: string;

  before(async () => {
    // Mojang's answers: upstream shape {id, name}; 404 for nobody.
    mojang = createServer((request, response) => {
      const isNotch = request.url?.toLowerCase() === '/users/profiles/minecraft/notch';
      const broken = request.url?.endsWith('/Broken') === true;
      response.statusCode = isNotch ? 200 : broken ? 500 : 404;
      response.end(isNotch ? JSON.stringify({ id: NOTCH.replaceAll('-', ''), name: 'Notch' }) : '{}');
    }).listen(0, '127.0.0.1');
    await once(mojang, 'listening');
    const address = mojang.address();
    if (address === null || typeof address === 'string') throw new Error('Mojang got no port');
    java = await makeFakeJava();
    const findProfile = createFindProfile(
      new Upstream({
        name: 'Mojang',
        base: `http://127.0.0.1:${address.port}`,
        urls: { allowPrivate: false },
        userAgent: 'AYMC (test@example.org)',
      }),
    );
    [api, agent] = await Promise.all([
      startTestApi({ deps: { findProfile } }),
      startAgentProcess({ token: null, javaHome: java.home }),
    ]);
    client = connectAgent(agent);
    user = await api.signUp();
    agentRow = await agentOf(agent);
  });
  after(async () => {
    client.close();
    await agent.stop();
    await api.close();
    await java.remove();
    mojang.closeAllConnections();
    mojang.close();
  });
  beforeEach(() => makeServer(agentRow, agent));

  async function agentOf({ host, port }: AgentProcess): Promise<string> {
    return (await buildAgent(api.db, { ip_address: host, port, tls_mode: 'plaintext' })).id;
  }

  async function makeServer(agentId: string, { workDir }: AgentProcess): Promise<void> {
    serverId = (await buildServer(api.db, { user_id: user.id, agent_id: agentId })).id;
    folder = join(workDir, serverId);
    await mkdir(folder);
    await writeFile(join(folder, 'eula.txt'), 'eula=true\n');
    await writeFile(join(folder, 'server.properties'), 'online-mode=false\n');
  }

  async function start(on: AgentClient, host: AgentProcess, javaArgs: string[]): Promise<void> {
    const started = await on.call<ServerResponse>((m, answer) =>
      on.raw.startServer(
        {
          serverId,
          name: 'Survival',
          type: 'vanilla',
          version: '1.21.4',
          config: {
            minRam: '64M',
            maxRam: '256M',
            javaArgs,
            jarFile: 'server.jar',
            autoRestart: false,
            customArgs: {},
          },
        },
        m,
        answer,
      ),
    );
    if (!started.success) throw new Error(started.message);
    await waitForState(host, ProcessState.RUNNING);
    await rows(api.db, `UPDATE servers SET status = 'running' WHERE id = $1 RETURNING id`, {
      bind: [serverId],
    });
  }

  async function waitForState(host: AgentProcess, state: ProcessState): Promise<void> {
    await waitFor(
      async () => {
        const { servers } = await api.gateway.inspectServers(addressOf(host));
        return servers.find(server => server.serverId === serverId)?.state === state;
      },
      { what: `the server is in state ${state}`, timeoutMs: 60_000 },
    );
  }

  async function startListing(): Promise<void> {
    await writeFile(join(folder, 'server.jar'), tinyJar());
    await writeFile(join(folder, 'listing.sh'), LISTING_SERVER);
    await start(client, agent, [`-Dscript=${join(folder, 'listing.sh')}`]);
  }

  const put = (list: string, player: string, body: unknown = {}) =>
    user.send(`PUT /servers/${serverId}/${list}/${player}`, { body });
  const remove = (list: string, player: string) => user.send(`DELETE /servers/${serverId}/${list}/${player}`);
  const get = (list: string) => user.send(`GET /servers/${serverId}/${list}`);
  const jsonOf = async (file: string): Promise<unknown> =>
    JSON.parse(await readFile(join(folder, file), 'utf8'));

  describe('of a stopped server', () => {
    it('are its files, in the shapes of vanilla', async () => {
      expect((await get('ops')).body).to.deep.equal([]);
      expect((await put('whitelist', 'Steve')).body).to.deep.equal({
        player: 'Steve',
        uuid: STEVE_OFFLINE,
        applied: 'file',
      });
      expect(await jsonOf('whitelist.json')).to.deep.equal([{ uuid: STEVE_OFFLINE, name: 'Steve' }]);
      await put('ops', 'Steve');
      expect((await put('ops', 'steve', { level: 2 })).status).to.equal(200);
      expect(await jsonOf('ops.json')).to.deep.equal([
        { uuid: STEVE_OFFLINE, name: 'Steve', level: 2, bypassesPlayerLimit: false },
      ]);
      const ban = objectOf(await put('bans', 'Steve', { reason: 'Griefing' }));
      expect(ban).to.include({ source: 'Server', expires: 'forever', reason: 'Griefing', applied: 'file' });
      expect(ban['created']).to.match(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000$/);
      expect(rowsOf(await get('bans')).map(({ player }) => player)).to.deep.equal(['Steve']);
      for (const list of ['whitelist', 'ops', 'bans']) {
        expect((await remove(list, 'STEVE')).status, list).to.equal(204);
        expect((await remove(list, 'Steve')).status, list).to.equal(204);
        expect((await get(list)).body, list).to.deep.equal([]);
      }
    });

    it('name players as the server would: met before, else by its mode', async () => {
      await writeFile(join(folder, 'server.properties'), 'online-mode=true\n');
      const met = {
        uuid: '11111111-2222-4333-8444-555555555555',
        name: 'Alex',
        expiresOn: '2999-01-01 00:00:00 +0000',
      };
      const expired = { uuid: met.uuid, name: 'notch', expiresOn: '2020-01-01 00:00:00 +0000' };
      await writeFile(join(folder, 'usercache.json'), JSON.stringify([met, expired]));
      expect((await put('whitelist', 'alex')).body).to.include({ player: 'Alex', uuid: met.uuid });
      expect((await put('whitelist', 'notch')).body).to.include({ player: 'Notch', uuid: NOTCH });
      expect(codeOf(await put('whitelist', 'Nobody'))).to.equal('404 player-unknown');
      expect(codeOf(await put('whitelist', 'Broken'))).to.equal('502 upstream-failed');
      expect(rowsOf(await get('whitelist'))).to.have.length(2);
    });

    it('lose nobody when many are added at the same time, nor keys that others have written', async () => {
      await writeFile(join(folder, 'whitelist.json'), '[{"uuid":"x","name":"Old","note":"kept"}]');
      const names = ['A', 'B', 'C', 'D'];
      const answers = await Promise.all(names.map(name => put('whitelist', name)));
      expect(answers.map(codeOf)).to.deep.equal(names.map(() => '200'));
      expect(rowsOf(await get('whitelist')).map(({ player }) => player)).to.have.members(['Old', ...names]);
      expect(
        valueAt({ ...(await get('whitelist')), body: await jsonOf('whitelist.json') }, '0.note'),
      ).to.equal('kept');
    });

    it('that are broken are not written over', async () => {
      await writeFile(join(folder, 'ops.json'), '[{"name": }]');
      const answer = await put('ops', 'Steve');
      expect(codeOf(answer)).to.equal('422 invalid-config');
      expect(textAt(answer, 'detail')).to.contain('Line 1, column 11');
      expect(await readFile(join(folder, 'ops.json'), 'utf8')).to.equal('[{"name": }]');
    });
  });

  it('take no name and no reason that could be another command', async () => {
    for (const name of ['a%0Astop', 'a%20b', '%40a', 'x'.repeat(17), 'a-b', '%C2%A7a']) {
      expect(codeOf(await put('bans', name)), name).to.equal('400 invalid-request');
    }
    for (const reason of ['x\nstop', 'x\rstop', 'x\u0000', 'x'.repeat(257), 'x\u2028stop']) {
      expect(codeOf(await put('bans', 'Steve', { reason })), reason).to.equal('400 invalid-request');
    }
    expect(codeOf(await put('ops', 'Steve', { level: 5 }))).to.equal('400 invalid-request');
    expect(codeOf(await put('whitelist', 'Steve', { level: 1 }))).to.equal('400 invalid-request');
  });

  it('of a running server are changed by its console, believed when the file shows it, and audited', async () => {
    await startListing();
    expect((await put('whitelist', 'Steve')).body).to.deep.equal({
      player: 'Steve',
      uuid: 'u',
      applied: 'console',
    });
    expect((await put('bans', 'Steve', { reason: 'Griefing; /op me' })).body).to.include({
      reason: 'Griefing; /op me',
      applied: 'console',
    });
    expect(codeOf(await put('whitelist', 'Ghost'))).to.equal('504 console-unconfirmed');
    expect((await remove('whitelist', 'Steve')).status).to.equal(204);
    expect((await remove('bans', 'Steve')).status).to.equal(204);
    expect(await readFile(join(folder, 'commands.txt'), 'utf8')).to.equal(
      'whitelist add Steve\nban Steve Griefing; /op me\nwhitelist add Ghost\nwhitelist remove Steve\npardon Steve\n',
    );
    expect(codeOf(await put('ops', 'Steve', { level: 1 }))).to.equal('409 server-running');
    const audited = await rows<{ action: string; data: unknown }>(
      api.db,
      'SELECT action, data FROM audit_log WHERE target_id = $1 ORDER BY at',
      { bind: [serverId] },
    );
    expect(audited).to.have.length(5);
    expect(audited[0]).to.deep.equal({
      action: 'player.listed',
      data: { list: 'whitelist', player: 'Steve', applied: 'console' },
    });
  });

  it('of a server that is starting are left alone', async () => {
    await writeFile(join(folder, 'server.jar'), tinyJar());
    const starting = client.call<ServerResponse>((m, answer) =>
      client.raw.startServer(
        {
          serverId,
          name: 'Survival',
          type: 'vanilla',
          version: '1.21.4',
          config: {
            minRam: '64M',
            maxRam: '64M',
            javaArgs: ['-Dboot=never'],
            jarFile: 'server.jar',
            autoRestart: false,
            customArgs: {},
          },
        },
        m,
        answer,
      ),
    );
    starting.catch(() => undefined); // answered when the server is ready, which it never is
    await waitForState(agent, ProcessState.STARTING);
    expect(codeOf(await put('whitelist', 'Steve'))).to.equal('409 server-changing');
    expect(codeOf(await remove('ops', 'Steve'))).to.equal('409 server-changing');
  });

  it('a real Minecraft server makes operators, and takes it back', async function () {
    this.timeout(11 * 60_000);
    const jar = await buildMinecraftJar();
    const host = await startAgentProcess({ token: null });
    const real = connectAgent(host);
    try {
      await makeServer(await agentOf(host), host);
      await copyFile(jar.path, join(folder, 'server.jar'));
      const lines = ['online-mode=false', 'server-ip=127.0.0.1', `server-port=${await freePort()}`];
      await writeFile(join(folder, 'server.properties'), lines.join('\n'));
      await put('ops', 'Alex');
      await start(
        real,
        host,
        cheapJvmFlags.filter(flag => !flag.startsWith('-Xm')),
      );
      expect((await put('ops', 'Steve')).body).to.include({
        player: 'Steve',
        uuid: STEVE_OFFLINE,
        level: 4,
        applied: 'console',
      });
      expect((await put('ops', 'Steve', { level: 4 })).status).to.equal(200);
      expect(rowsOf(await get('ops')).map(({ player }) => player)).to.have.members(['Alex', 'Steve']);
      expect((await remove('ops', 'Alex')).status).to.equal(204);
      expect(rowsOf(await get('ops')).map(({ player }) => player)).to.deep.equal(['Steve']);
    } finally {
      real.close();
      await host.stop();
    }
  });
});
