import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { expect } from 'chai';
import { buildAgent, buildServer } from '#test/build.js';
import { startFakeAgent } from '#test/fakeAgent.js';
import { startAgentProcess, type AgentProcess } from '#test/harness/agentProcess.js';
import {
  codeOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type ApiAnswer,
  type ApiUser,
  type TestApi,
} from '#test/harness/api.js';
import { waitFor } from '#test/harness/waitFor.js';

const BYTES = { 'Content-Type': 'application/octet-stream' };
const TEXT = { 'Content-Type': 'text/plain' };

describe('files over the API', function () {
  this.timeout(60_000);
  let api: TestApi;
  let user: ApiUser;
  let agent: AgentProcess;
  let agentRow: string;
  let serverId: string;
  let folder: string;
  let serverPort = 20_000;

  before(async () => {
    [api, agent] = await Promise.all([startTestApi(), startAgentProcess({ token: null })]);
    user = await api.signUp();
    const { host, port } = agent;
    agentRow = (await buildAgent(api.db, { ip_address: host, port, tls_mode: 'plaintext' })).id;
  });
  after(async () => {
    await agent.stop();
    await api.close();
  });
  beforeEach(async () => {
    serverPort += 1;
    const server = { user_id: user.id, agent_id: agentRow, port: serverPort };
    serverId = (await buildServer(api.db, server)).id;
    folder = join(agent.workDir, serverId);
    await mkdir(folder);
  });

  const at = (path: string, query = '') => `/servers/${serverId}/files${path}${query}`;
  const contentOf = (path: string) => at('/content', `?path=${encodeURIComponent(path)}`);
  const put = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    user.send(`PUT ${contentOf(path)}`, { body, headers: { ...BYTES, ...headers } });
  const get = (path: string, headers: Record<string, string> = {}) =>
    user.send(`GET ${contentOf(path)}`, { headers });
  const staged = () => readdir(join(agent.workDir, '.aymc/uploads'));
  const bytesAt = async (path: string): Promise<Buffer> => {
    const headers = { Authorization: `Bearer ${user.token}` };
    const answer = await fetch(`${api.url}/api/v1${contentOf(path)}`, { headers });
    return Buffer.from(await answer.arrayBuffer());
  };

  describe('content', () => {
    it('comes back as it was sent, with a hash, a tag and headers that keep a browser from showing it', async () => {
      const content = randomBytes(5_000_000);
      const stored = await put('world/region/r.0.0.mca', content);
      expect(stored.status).to.equal(200);
      expect(stored.body).to.include({
        path: 'world/region/r.0.0.mca',
        name: 'r.0.0.mca',
        type: 'file',
        size: 5_000_000,
        is_dir: false,
        permissions: '0644',
        sha256: createHash('sha256').update(content).digest('hex'),
      });
      expect((await bytesAt('/world/region/r.0.0.mca')).equals(content)).to.equal(true);
      await put('motd §.html', '<script>');
      const { headers, body } = await get('motd §.html');
      expect(body).to.equal('<script>');
      expect(headers.get('content-type')).to.equal('application/octet-stream');
      expect(headers.get('x-content-type-options')).to.equal('nosniff');
      expect(headers.get('content-disposition')).to.equal(
        `attachment; filename="motd _.html"; filename*=UTF-8''motd%20%C2%A7.html`,
      );
      expect(headers.get('etag')).to.match(/^"[\w-]+"$/);
      expect((await put('empty', '')).body).to.include({ size: 0 });
      expect((await get('empty')).headers.get('content-length')).to.equal('0');
    });

    it('that is still the one a client has is not sent again; HEAD sends none', async () => {
      const etag = textAt(await put('a.txt', 'hello'), 'etag');
      const again = await get('a.txt', { 'If-None-Match': `"other", W/${etag}` });
      expect([again.status, again.body, again.headers.get('etag')]).to.deep.equal([304, '', etag]);
      await writeFile(join(folder, 'a.txt'), 'howdy');
      const changed = await get('a.txt', { 'If-None-Match': etag });
      expect([changed.status, changed.body]).to.deep.equal([200, 'howdy']);
      const head = await user.send(`HEAD ${contentOf('a.txt')}`);
      expect([head.status, head.body, head.headers.get('content-length')]).to.deep.equal([200, '', '5']);
    });

    it('is sent in the range that is asked for', async () => {
      const etag = textAt(await put('a.txt', '0123456789'), 'etag');
      const cases: [string, number, string, string | null][] = [
        ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
        ['bytes=8-', 206, '89', 'bytes 8-9/10'],
        ['bytes=-3', 206, '789', 'bytes 7-9/10'],
        ['bytes=5-500', 206, '56789', 'bytes 5-9/10'],
        ['bytes=3-1', 200, '0123456789', null],
        ['bytes=0-1,4-5', 200, '0123456789', null],
        ['lines=1-2', 200, '0123456789', null],
      ];
      for (const [Range, status, body, contentRange] of cases) {
        const answer = await get('a.txt', { Range });
        expect([answer.status, answer.body, answer.headers.get('content-range')], Range).to.deep.equal([
          status,
          body,
          contentRange,
        ]);
      }
      const beyond = await get('a.txt', { Range: 'bytes=10-' });
      expect(codeOf(beyond)).to.equal('416 range-not-satisfiable');
      expect(beyond.headers.get('content-range')).to.equal('bytes */10');
      expect(codeOf(await get('a.txt', { Range: 'bytes=-0' }))).to.equal('416 range-not-satisfiable');
      expect((await get('a.txt', { Range: 'bytes=0-1', 'If-Range': etag })).body).to.equal('01');
      expect((await get('a.txt', { Range: 'bytes=0-1', 'If-Range': '"old"' })).status).to.equal(200);
    });

    it('is replaced only over what the client has seen', async () => {
      const created = await put('a.txt', 'one', { 'If-None-Match': '*' });
      expect(created.status).to.equal(200);
      expect(codeOf(await put('a.txt', 'two', { 'If-None-Match': '*' }))).to.equal('412 precondition-failed');
      const etag = textAt(created, 'etag');
      expect((await put('a.txt', 'two', { 'If-Match': `"x", ${etag}` })).status).to.equal(200);
      for (const named of [etag, `W/${etag}`, '"other"']) {
        expect(codeOf(await put('a.txt', 'three', { 'If-Match': named })), named).to.equal(
          '412 precondition-failed',
        );
      }
      expect(codeOf(await put('b.txt', 'x', { 'If-Match': '*' }))).to.equal('412 precondition-failed');
      expect((await get('a.txt')).body).to.equal('two');
    });

    it('of two who change the same file at the same time, one wins', async () => {
      const etag = textAt(await put('a.txt', 'zero'), 'etag');
      const rivals = await Promise.all(['one', 'two'].map(text => put('a.txt', text, { 'If-Match': etag })));
      expect(rivals.map(codeOf).sort()).to.deep.equal(['200', '412 precondition-failed']);
      const winner = rivals.findIndex(({ status }) => status === 200);
      expect((await get('a.txt')).body).to.equal(['one', 'two'][winner]);
    });

    it('outside of the server’s folder is out of reach, by whatever path', async () => {
      const outside = await mkdtemp(join(tmpdir(), 'aymc-outside-'));
      await writeFile(join(outside, 'secret'), 'secret');
      await symlink(outside, join(folder, 'link'));
      try {
        for (const path of ['../x', 'a/../../x', 'link/secret', 'a\0b', '..', `x/${'é'.repeat(128)}`]) {
          for (const answer of [await get(path), await put(path, 'x')])
            expect(codeOf(answer), JSON.stringify(path)).to.equal('400 invalid-path');
        }
        expect(await readdir(outside)).to.deep.equal(['secret']);
        expect(codeOf(await get('none'))).to.equal('404 file-not-found');
        expect((await get('/etc/passwd')).status, 'a leading slash means the server’s folder').to.equal(404);
        expect(codeOf(await get(''))).to.equal('400 invalid-request');
        expect(codeOf(await get('/'))).to.equal('400 invalid-path');
      } finally {
        await rm(outside, { recursive: true });
      }
    });

    it('of a server that has no folder yet, or whose agent is away, is a typed problem', async () => {
      await rm(folder, { recursive: true });
      expect(codeOf(await get('a.txt'))).to.equal('409 not-installed');
      const { id: agent_id } = await buildAgent(api.db, { port: 1 });
      serverId = (await buildServer(api.db, { user_id: user.id, agent_id })).id;
      expect(codeOf(await get('a.txt'))).to.equal('503 agent-unreachable');
    });
  });

  describe('an upload', () => {
    /** A PUT whose body is sent by hand. */
    async function beginPut(path: string, length: number, on: TestApi = api, as = user): Promise<Socket> {
      const socket = connect(Number(new URL(on.url).port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write(
        `PUT /api/v1${contentOf(path)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${as.token}\r\n` +
          `Content-Type: application/octet-stream\r\nContent-Length: ${length}\r\n\r\n`,
      );
      return socket;
    }
    async function answerOf(socket: Socket): Promise<string> {
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      return waitFor(() => Buffer.concat(chunks).toString(), { what: 'an answer' });
    }

    it('of more than a gigabyte is refused before it is sent', async () => {
      const socket = await beginPut('big.bin', 1024 ** 3 + 1);
      expect(await answerOf(socket)).to.match(/^HTTP\/1.1 413 /);
      socket.destroy();
    });

    it('that is compressed, or of another type where a form is expected, is refused', async () => {
      expect(codeOf(await put('a', 'x', { 'Content-Encoding': 'gzip' }))).to.equal(
        '415 unsupported-media-type',
      );
      const other = await user.send(`POST ${at('')}`, { body: 'x', headers: TEXT });
      expect(codeOf(other)).to.equal('415 unsupported-media-type');
    });

    it('whose client goes away changes nothing and leaves nothing', async () => {
      await put('a.txt', 'whole');
      const socket = await beginPut('a.txt', 10_000_000);
      socket.write(randomBytes(2_000_000));
      await waitFor(async () => (await staged()).length === 1, { what: 'the upload to have begun' });
      socket.destroy();
      await waitFor(async () => (await staged()).length === 0, { what: 'the upload to be given up' });
      expect((await get('a.txt')).body).to.equal('whole');
      expect(await readdir(folder)).to.deep.equal(['a.txt']);
    });

    it('that a killed agent was taking leaves the old file, and nothing after its next start', async () => {
      await put('a.txt', 'whole');
      const socket = await beginPut('a.txt', 10_000_000);
      socket.write(randomBytes(2_000_000));
      await waitFor(async () => (await staged()).length === 1, { what: 'the upload to have begun' });
      const answered = answerOf(socket);
      await agent.restart();
      expect(await answered).to.match(/^HTTP\/1.1 50[23] /);
      socket.destroy();
      expect(await staged()).to.deep.equal([]);
      await waitFor(async () => (await get('a.txt')).body === 'whole', {
        what: 'the agent to be found again',
      });
      expect(await readdir(folder)).to.deep.equal(['a.txt']);
    });

    it('that was answered already, and goes on in drops, is cut off', async () => {
      const strict = await startTestApi({ http: { requestTimeoutMs: 400 } });
      try {
        const stranger = { ...user, token: 'none' };
        const socket = await beginPut('a.txt', 1_000_000, strict, stranger);
        const answered = await answerOf(socket);
        expect(answered).to.match(/^HTTP\/1.1 401 /);
        const drops = setInterval(() => socket.write('x'), 50);
        socket.on('error', () => undefined);
        await once(socket, 'close');
        clearInterval(drops);
      } finally {
        await strict.close();
      }
    });
  });

  it('no more than four transfers of a user run at once', async () => {
    await put('big.bin', randomBytes(30_000_000));
    const open = Array.from({ length: 4 }, async () => {
      const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write(
        `GET /api/v1${contentOf('big.bin')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.token}\r\n\r\n`,
      );
      await once(socket, 'readable'); // and never read on
      return socket;
    });
    const sockets = await Promise.all(open);
    const refused = await get('big.bin');
    expect(codeOf(refused)).to.equal('429 too-many-transfers');
    expect(refused.headers.get('retry-after')).to.equal('5');
    for (const socket of sockets) socket.destroy();
    await waitFor(async () => (await get('big.bin', { Range: 'bytes=0-0' })).status === 206, {
      what: 'a place to be free',
    });
  });

  describe('a form', () => {
    async function send(
      form: FormData,
      query = '',
      headers: Record<string, string> = {},
    ): Promise<ApiAnswer> {
      const answer = await fetch(`${api.url}/api/v1${at('', query)}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${user.token}`, ...headers },
        body: form,
      });
      return { status: answer.status, headers: answer.headers, body: await answer.json() };
    }

    it('brings several files into a folder, and is told what became of each', async () => {
      const jar = randomBytes(1_500_000);
      const form = new FormData();
      form.append('path', 'plugins');
      form.append('file', new Blob([jar]), 'Essentials 2.jar');
      form.append('file', new Blob(['a: 1']), 'config.yml');
      const answer = await send(form);
      expect(answer.status).to.equal(201);
      expect(rowsOf(answer).map(({ path, size }) => [path, size])).to.deep.equal([
        ['plugins/Essentials 2.jar', 1_500_000],
        ['plugins/config.yml', 4],
      ]);
      expect(valueAt(answer, '0.sha256')).to.equal(createHash('sha256').update(jar).digest('hex'));
      expect((await readFile(join(folder, 'plugins/Essentials 2.jar'))).equals(jar)).to.equal(true);
      const again = await send(form, '', { 'If-None-Match': '*' });
      expect(codeOf(again)).to.equal('412 precondition-failed');
    });

    it('puts its files where the query says, and nowhere else', async () => {
      const form = new FormData();
      form.append('file', new Blob(['x']), '../../evil.txt');
      expect(rowsOf(await send(form, '?path=/mods')).map(({ path }) => path)).to.deep.equal([
        'mods/evil.txt',
      ]);
      const dots = new FormData();
      dots.append('file', new Blob(['x']), '..');
      expect(codeOf(await send(dots))).to.equal('400 invalid-path');
    });

    it('of too many files, or broken in the middle, is refused; what was whole before that is kept', async () => {
      const many = new FormData();
      for (let n = 0; n < 21; n++) many.append('file', new Blob(['x']), `${n}.txt`);
      expect(codeOf(await send(many))).to.equal('400 invalid-request');
      const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
      const part = (name: string) =>
        `--b\r\nContent-Disposition: form-data; name="f"; filename="${name}"\r\n\r\ncontent`;
      const broken = await user.send(`POST ${at('', '?path=broken')}`, {
        body: `${part('whole.txt')}\r\n${part('half.txt')}`,
        headers,
      });
      expect(codeOf(broken)).to.equal('400 invalid-request');
      expect(await readdir(join(folder, 'broken'))).to.deep.equal(['whole.txt']);
      const noBoundary = { 'Content-Type': 'multipart/form-data' };
      const none = await user.send(`POST ${at('')}`, { body: 'x', headers: noBoundary });
      expect(codeOf(none)).to.equal('400 invalid-request');
      expect(await staged()).to.deep.equal([]);
    });
  });

  describe('folders', () => {
    it('are made, listed by name, renamed and deleted with all that is in them', async () => {
      const made = await user.send(`POST ${at('')}`, {
        body: { path: '/plugins/Essentials', type: 'directory' },
      });
      expect([made.status, valueAt(made, '0.path')]).to.deep.equal([201, 'plugins/Essentials']);
      const again = await user.send(`POST ${at('')}`, { body: { path: 'plugins', type: 'directory' } });
      expect(codeOf(again)).to.equal('409 file-exists');
      await put('plugins/z.jar', 'jar');
      await symlink('z.jar', join(folder, 'plugins/a.jar'));
      const listed = await user.send(`GET ${at('', '?path=plugins')}`);
      expect(rowsOf(listed).map(({ name, type, is_dir, size }) => [name, type, is_dir, size])).to.deep.equal([
        ['Essentials', 'directory', true, 0],
        ['a.jar', 'symlink', false, 0],
        ['z.jar', 'file', false, 3],
      ]);
      const rename = (from: string, to: string) => user.send(`POST ${at('/rename')}`, { body: { from, to } });
      expect(codeOf(await rename('plugins/z.jar', 'plugins/Essentials'))).to.equal('409 file-exists');
      expect((await rename('plugins', 'old')).body).to.include({ path: 'old', is_dir: true });
      expect(codeOf(await rename('old', 'old/deeper'))).to.equal('400 invalid-path');
      expect((await user.send(`DELETE ${at('', '?path=old')}`)).status).to.equal(204);
      expect(codeOf(await user.send(`DELETE ${at('', '?path=old')}`))).to.equal('404 file-not-found');
      expect(codeOf(await user.send(`DELETE ${at('', '?path=/')}`))).to.equal('400 invalid-path');
      expect((await user.send(`GET ${at('')}`)).body).to.deep.equal([]);
    });

    it('of more entries than anyone reads are refused by name', async () => {
      const names = Array.from({ length: 10_001 }, (_, n) => String(n));
      for (let at_ = 0; at_ < names.length; at_ += 500) {
        await Promise.all(names.slice(at_, at_ + 500).map(name => writeFile(join(folder, name), '')));
      }
      expect(codeOf(await user.send(`GET ${at('')}`))).to.equal('422 folder-too-large');
      await rm(join(folder, '0'));
      expect(rowsOf(await user.send(`GET ${at('')}`))).to.have.length(10_000);
    });
  });

  describe('server.properties', () => {
    const properties = () => at('/server.properties');
    const change = (body: unknown, headers: Record<string, string> = {}) =>
      user.send(`PUT ${properties()}`, { body, headers });
    const textBefore = () =>
      [
        '#Minecraft server properties',
        `server-port=${serverPort}`,
        'motd=Caf\u00e9 \\u00a7a',
        '! by hand',
        'resource-pack=https\\://example.org/pack.zip',
        'max-players=20',
        '',
      ].join('\r\n');
    beforeEach(() => writeFile(join(folder, 'server.properties'), textBefore(), 'latin1'));
    const onDisk = () => readFile(join(folder, 'server.properties'), 'latin1');

    it('is read key by key, or as it is', async () => {
      const parsed = await user.send(`GET ${properties()}`);
      expect(parsed.body).to.deep.equal({
        'server-port': String(serverPort),
        motd: 'Café §a',
        'resource-pack': 'https://example.org/pack.zip',
        'max-players': '20',
      });
      const raw = await user.send(`GET ${properties()}?raw`);
      expect(raw.headers.get('content-type')).to.match(/^text\/plain/);
      expect(raw.body).to.include('! by hand');
      const etag = parsed.headers.get('etag') ?? '';
      const known = await user.send(`GET ${properties()}`, { headers: { 'If-None-Match': etag } });
      expect(known.status).to.equal(304);
    });

    it('keeps comments, order and other keys when some change', async () => {
      const answer = await change({ motd: 'Hi', pvp: false, 'resource-pack': null });
      expect(answer.status).to.equal(200);
      expect(answer.body).to.include({ motd: 'Hi', pvp: 'false', 'max-players': '20' });
      expect(await onDisk()).to.equal(
        textBefore()
          .replace('motd=Caf\u00e9 \\u00a7a', 'motd=Hi')
          .replace(/resource-pack.*\r\n/, '') + 'pvp=false\r\n',
      );
    });

    it('takes back whole what it gave, and then nothing changes', async () => {
      const { body, headers } = await user.send(`GET ${properties()}`);
      const answer = await change(body, { 'If-Match': headers.get('etag') ?? '' });
      expect([answer.status, answer.headers.get('etag')]).to.deep.equal([200, headers.get('etag')]);
      expect(await onDisk()).to.equal(textBefore());
    });

    it('loses no change when several are made at once', async () => {
      const answers = await Promise.all(['a', 'b', 'c'].map(key => change({ [key]: key })));
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 200]);
      expect((await user.send(`GET ${properties()}`)).body).to.include({ a: 'a', b: 'b', c: 'c' });
      const stale = await change({ d: 1 }, { 'If-Match': '"stale"' });
      expect(codeOf(stale)).to.equal('412 precondition-failed');
    });

    it('follows the server’s settings where they own a key', async () => {
      const refused = await change({ 'server-port': 25_566 });
      expect(codeOf(refused)).to.equal('400 invalid-request');
      expect(textAt(refused, 'detail')).to.include('PUT /servers/:id');
      expect(codeOf(await change({ 'max-players': null }))).to.equal('400 invalid-request');
      await user.send(`PUT /servers/${serverId}`, { body: { max_players: 50 } });
      expect((await change({ 'max-players': 50 })).body).to.include({ 'max-players': '50' });
    });

    it('is replaced by a text as a whole', async () => {
      const text = `server-port=${serverPort}\nmotd=New\n`;
      const answer = await user.send(`PUT ${properties()}`, { body: text, headers: TEXT });
      expect(answer.body).to.deep.equal({ 'server-port': String(serverPort), motd: 'New' });
      expect(await onDisk()).to.equal(text);
      const owned = await user.send(`PUT ${properties()}`, { body: 'server-port=1\n', headers: TEXT });
      expect(codeOf(owned)).to.equal('400 invalid-request');
    });

    it('that is not there yet is 404, and made by the first change', async () => {
      await rm(join(folder, 'server.properties'));
      expect(codeOf(await user.send(`GET ${properties()}`))).to.equal('404 file-not-found');
      expect((await change({ motd: 'First' })).status).to.equal(200);
      expect(await onDisk()).to.equal('motd=First\n');
    });
  });

  describe('of an agent of version 1', () => {
    it('are listed, read and written whole; all else is refused by name', async () => {
      const old = await startFakeAgent({ capabilities: [] });
      try {
        const { id, host: ip_address, port, tls_mode } = old.address;
        await buildAgent(api.db, { id, ip_address, port, tls_mode, work_dir: '/srv/minecraft/' });
        serverId = (await buildServer(api.db, { user_id: user.id, agent_id: id })).id;
        expect((await put('config/a.txt', '0123456789')).status).to.equal(200);
        expect((await get('config/a.txt', { Range: 'bytes=-2' })).body).to.equal('89');
        const listed = await user.send(`GET ${at('', '?path=config')}`);
        expect(rowsOf(listed).map(({ path, size }) => [path, size])).to.deep.equal([['config/a.txt', 10]]);
        expect(codeOf(await put('config/a.txt', 'x', { 'If-None-Match': '*' }))).to.equal(
          '412 precondition-failed',
        );
        expect(codeOf(await get('none'))).to.equal('404 file-not-found');
        expect(codeOf(await put('big', randomBytes(9_000_000)))).to.equal('413 body-too-large');
        expect(codeOf(await user.send(`DELETE ${at('', '?path=config')}`))).to.equal('501 agent-unsupported');
        const made = await user.send(`POST ${at('')}`, { body: { path: 'x', type: 'directory' } });
        expect(codeOf(made)).to.equal('501 agent-unsupported');
      } finally {
        await old.stop();
      }
    });
  });
});
