import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { buildAgent, buildServer } from '#test/build.js';
import { startAgentProcess, type AgentProcess } from '#test/harness/agentProcess.js';
import { codeOf, startTestApi, textAt, valueAt, type ApiUser, type TestApi } from '#test/harness/api.js';

const SPIGOT = new URL('../fixtures/config/spigot.yml', import.meta.url);

describe('files of settings over the API', function () {
  this.timeout(60_000);
  let api: TestApi;
  let user: ApiUser;
  let agent: AgentProcess;
  let agentRow: string;
  let serverId: string;
  let folder: string;
  let port = 21_000;

  before(async () => {
    [api, agent] = await Promise.all([startTestApi(), startAgentProcess({ token: null })]);
    user = await api.signUp();
    agentRow = (await buildAgent(api.db, { ip_address: agent.host, port: agent.port, tls_mode: 'plaintext' }))
      .id;
  });
  after(async () => {
    await agent.stop();
    await api.close();
  });
  beforeEach(async () => {
    port += 1;
    serverId = (await buildServer(api.db, { user_id: user.id, agent_id: agentRow, port })).id;
    folder = join(agent.workDir, serverId);
    await mkdir(folder);
  });

  const at = (path: string) => `/servers/${serverId}/files/config?path=${encodeURIComponent(path)}`;
  const get = (path: string, headers: Record<string, string> = {}) =>
    user.send(`GET ${at(path)}`, { headers });
  const put = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    user.send(`PUT ${at(path)}`, { body, headers });
  const onDisk = (path: string) => readFile(join(folder, path), 'utf8');

  it('spigot.yml is read as data, and a change of it keeps every comment', async () => {
    const text = await readFile(SPIGOT, 'utf8');
    await writeFile(join(folder, 'spigot.yml'), text);
    const before = await get('spigot.yml');
    expect(valueAt(before, 'settings.timeout-time')).to.equal(60);
    const etag = before.headers.get('etag') ?? '';
    expect((await get('spigot.yml', { 'If-None-Match': etag })).status).to.equal(304);
    const after = await put('spigot.yml', { settings: { 'timeout-time': 90 } }, { 'If-Match': etag });
    expect([after.status, valueAt(after, 'settings.timeout-time')]).to.deep.equal([200, 90]);
    expect(await onDisk('spigot.yml')).to.equal(text.replace('timeout-time: 60', 'timeout-time: 90'));
    expect(codeOf(await put('spigot.yml', { a: 1 }, { 'If-Match': etag }))).to.equal(
      '412 precondition-failed',
    );
  });

  it('JSON lists are replaced, .properties changed key by key, and what a server’s settings own is kept', async () => {
    await writeFile(join(folder, 'ops.json'), '[\n  {"name": "a"}\n]');
    expect((await put('ops.json', [{ name: 'b' }])).body).to.deep.equal([{ name: 'b' }]);
    expect(await onDisk('ops.json')).to.equal('[\n  {\n    "name": "b"\n  }\n]');
    await writeFile(join(folder, 'server.properties'), `#kept\nserver-port=${port}\nmotd=a\n`);
    expect((await put('server.properties', { motd: 'b' })).status).to.equal(200);
    expect(await onDisk('server.properties')).to.equal(`#kept\nserver-port=${port}\nmotd=b\n`);
    expect(codeOf(await put('./server.properties', { 'server-port': 1 }))).to.equal('400 invalid-request');
    expect((await put('new.yml', { a: { b: 'on' } })).body).to.deep.equal({ a: { b: 'on' } });
    expect(await onDisk('new.yml')).to.equal('a:\n  b: "on"\n');
  });

  it('what cannot be read is refused by line and column, and is never written over', async () => {
    const texts: Record<string, string> = {
      'broken.yml': 'a: 1\nb: [1\nc: 2\n',
      'bomb.yml': `a: &a [${'x,'.repeat(9)}]\nb: &b [${'*a,'.repeat(9)}]\nc: &c [${'*b,'.repeat(9)}]\nd: [${'*c,'.repeat(9)}]\n`,
      'deep.yml': '['.repeat(500_000),
      'broken.json': '{\n "a": }',
    };
    for (const [path, text] of Object.entries(texts)) {
      await writeFile(join(folder, path), text);
      const answer = await get(path);
      expect(codeOf(answer), path).to.equal('422 invalid-config');
      expect(codeOf(await put(path, { z: 1 })), path).to.equal('422 invalid-config');
      expect(await onDisk(path), path).to.equal(text);
    }
    expect(textAt(await get('broken.yml'), 'detail')).to.contain('Line 3, column 1');
    expect(textAt(await get('broken.json'), 'detail')).to.contain('Line 2, column 7');
    await writeFile(join(folder, 'large.yml'), `#${'x'.repeat(1024 * 1024)}`);
    expect(codeOf(await get('large.yml'))).to.equal('413 body-too-large');
    expect(codeOf(await get('none.yml'))).to.equal('404 file-not-found');
    expect(codeOf(await get('server.jar'))).to.equal('400 invalid-request');
    expect(codeOf(await get('../x.yml'))).to.equal('400 invalid-path');
    expect(
      codeOf(await put('a.yml', '{"__proto__": {"x": 1}}', { 'Content-Type': 'application/json' })),
    ).to.equal('400 invalid-json');
  });

  it('are read also while a server writes them in place, over and over', async () => {
    const read = new AbortController();
    const writing = (async () => {
      while (!read.signal.aborted) {
        await writeFile(join(folder, 'live.properties'), `motd=${'x'.repeat(200_000)}`);
        await sleep(5); // long enough for one whole look between two writes
      }
    })();
    const codes = new Set<string>();
    for (let look = 0; look < 60; look++) codes.add(codeOf(await get('live.properties')));
    read.abort();
    await writing;
    expect([...codes]).to.deep.equal(['200']);
  });

  it('of many who change one file at the same time nobody’s change is lost', async () => {
    await writeFile(join(folder, 'a.yml'), '# head\nkeep: true\n');
    const keys = ['k1', 'k2', 'k3', 'k4'];
    const answers = await Promise.all(keys.map(key => put('a.yml', { [key]: key })));
    expect(answers.map(codeOf)).to.deep.equal(keys.map(() => '200'));
    expect((await get('a.yml')).body).to.deep.equal({ keep: true, k1: 'k1', k2: 'k2', k3: 'k3', k4: 'k4' });
    expect(await onDisk('a.yml')).to.match(/^# head\nkeep: true\n/);
  });
});
