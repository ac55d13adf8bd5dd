import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { AppendLog } from '../../agent/appendLog.js';
import { ConfigError, loadConfig } from '../../agent/config.js';
import { AgentError } from '../../agent/errors.js';
import { parseFileName, parseServerId } from '../../agent/server/paths.js';
import { getProperty, setProperties } from '../../agent/serverProperties.js';
import { UserFiles } from '../../agent/userFiles.js';
import { applySettings, eulaIsAccepted } from '../../agent/work/settings.js';

const ID = '7d3c4b1a-0000-4000-8000-000000000001';

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof AgentError) return error.code;
    throw error;
  }
}

describe('agent files', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'aymc-files-')));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  describe('server.properties', () => {
    const OPERATORS = [
      '#Minecraft server properties',
      '! another comment: server-port=1',
      '  motd = Caf\\u00e9 §a=b',
      'server-port : 25500',
      '',
      'generator-settings={\\',
      '  server-port=99\\',
      '}',
      'max-players=5',
      'custom.key=\\',
    ].join('\n');

    it('changes the given keys and leaves every other byte alone', () => {
      const changed = setProperties(OPERATORS, { 'server-port': '25565', 'max-players': '20' });
      expect(changed).to.equal(
        OPERATORS.replace('server-port : 25500', 'server-port=25565').replace(
          'max-players=5',
          'max-players=20',
        ),
      );
      expect(getProperty(changed, 'generator-settings')).to.include('server-port=99');
    });

    it('is the same text when the values are there already, and after a second time', () => {
      const once = setProperties(OPERATORS, { 'server-port': '25500', 'max-players': '5' });
      expect(once).to.equal(OPERATORS);
    });

    it('adds what is missing on lines of its own, with the line ends of the file', () => {
      expect(setProperties('', { 'server-port': '1' })).to.equal('server-port=1\n');
      expect(setProperties('a=b', { c: 'd' })).to.equal('a=b\nc=d\n');
      expect(setProperties('a=b\r\n', { a: 'x', c: 'd' })).to.equal('a=x\r\nc=d\r\n');
    });

    it('reads back what it set, in any file', () => {
      fc.assert(
        fc.property(fc.array(fc.string()), fc.integer({ min: 1, max: 65535 }), (lines, port) => {
          const text = setProperties(lines.join('\n').replace(/\\+$/, ''), { 'server-port': String(port) });
          expect(getProperty(text, 'server-port')).to.equal(String(port));
          expect(setProperties(text, { 'server-port': String(port) })).to.equal(text);
        }),
      );
    });

    it('knows lines that go on in the next one, also where the file ends with such a line', () => {
      expect(getProperty('a=1\\\n   2\n', 'a')).to.equal('12');
      const text = setProperties('a=1\\\n', { 'server-port': '5' });
      expect(text).to.equal('a=1\\\n\nserver-port=5\n');
      expect(getProperty(text, 'server-port')).to.equal('5');
      expect(getProperty(text, 'a')).to.equal('1');
    });

    it('survives on disk in whatever encoding it has', async () => {
      const bytes = Buffer.concat([
        Buffer.from('motd=Caf'),
        Buffer.from([0xe9, 0x0a]),
        Buffer.from('server-port=1\n'),
      ]);
      await writeFile(join(folder, 'server.properties'), bytes);
      await applySettings(folder, { port: 2, maxPlayers: 0, eulaAccepted: false });
      const after = await readFile(join(folder, 'server.properties'));
      expect(
        after.equals(Buffer.from(bytes.toString('latin1').replace('port=1', 'port=2'), 'latin1')),
      ).to.equal(true);
    });
  });

  it('writes eula.txt only for an accepted EULA, and leaves one that says so', async () => {
    const settings = { port: 1, maxPlayers: 2, eulaAccepted: false };
    await applySettings(folder, settings);
    expect(await eulaIsAccepted(folder)).to.equal(false);
    await writeFile(join(folder, 'eula.txt'), '#signed by hand\neula=TRUE\n');
    await applySettings(folder, { ...settings, eulaAccepted: true });
    expect(await readFile(join(folder, 'eula.txt'), 'utf8')).to.equal('#signed by hand\neula=TRUE\n');
  });

  describe('users’ paths', () => {
    let files: UserFiles;
    const other = '7d3c4b1a-0000-4000-8000-000000000002';

    beforeEach(async () => {
      files = new UserFiles(folder);
      for (const id of [ID, other]) await mkdir(join(folder, id, 'config'), { recursive: true });
      await mkdir(join(folder, '.aymc'));
      await writeFile(join(folder, '.aymc', 'ledger.jsonl'), 'secret');
      await writeFile(join(folder, other, 'ops.json'), 'secret');
    });

    it('read back what was written, also in pieces', async () => {
      await files.write(`${ID}/config/a/b.yml`, Buffer.from('0123456789'), true);
      expect((await files.read(`${ID}/config/a/b.yml`, 0, 0)).content.toString()).to.equal('0123456789');
      expect((await files.read(`${ID}/config/a/b.yml`, 3, 4)).content.toString()).to.equal('3456');
      expect((await files.read(join(folder, ID, 'config/a/b.yml'), 8, 10)).content.toString()).to.equal('89');
      expect(await codeOf(files.write(`${ID}/none/b.yml`, Buffer.from(''), false))).to.equal(
        'file-not-found',
      );
    });

    for (const path of [
      `${ID}/../${other}/ops.json`,
      `../${ID}/x`,
      '/etc/passwd',
      `${ID}/a\0b`,
      '.aymc/ledger.jsonl',
      `./.aymc/ledger.jsonl`,
      ID,
      '',
    ]) {
      it(`refuse ${JSON.stringify(path)}`, async () => {
        expect(await codeOf(files.read(path, 0, 0))).to.equal('invalid-path');
        expect(await codeOf(files.write(path, Buffer.from('x'), true))).to.equal('invalid-path');
      });
    }

    it('do not follow a link out of the server’s folder, neither at the end nor on the way', async () => {
      await symlink(join(folder, other), join(folder, ID, 'neighbour'));
      await symlink(join(folder, other, 'ops.json'), join(folder, ID, 'ops.json'));
      await symlink('/etc', join(folder, ID, 'etc'));
      await symlink(join(folder, '.aymc'), join(folder, '7d3c4b1a-0000-4000-8000-000000000003'));
      for (const path of [
        `${ID}/neighbour/ops.json`,
        `${ID}/ops.json`,
        `${ID}/etc/passwd`,
        '7d3c4b1a-0000-4000-8000-000000000003/ledger.jsonl',
      ]) {
        expect(await codeOf(files.read(path, 0, 0)), path).to.equal('invalid-path');
        expect(await codeOf(files.write(path, Buffer.from('x'), true)), path).to.equal('invalid-path');
      }
      expect(await readFile(join(folder, other, 'ops.json'), 'utf8')).to.equal('secret');
      expect(await codeOf(files.list(`${ID}/etc`, true))).to.equal('invalid-path');
    });

    it('may use links that stay inside', async () => {
      await writeFile(join(folder, ID, 'config', 'real.yml'), 'inside');
      await symlink('config', join(folder, ID, 'alias'));
      expect((await files.read(`${ID}/alias/real.yml`, 0, 0)).content.toString()).to.equal('inside');
    });

    it('do not hang on a FIFO', async () => {
      execFileSync('mkfifo', [join(folder, ID, 'pipe')]);
      expect(await codeOf(files.read(`${ID}/pipe`, 0, 0))).to.equal('invalid-path');
    });

    it('list a folder, all below it when asked, and never the agent’s own', async () => {
      await files.write(`${ID}/config/a.yml`, Buffer.from('x'), false);
      expect((await files.list(ID, true)).map(file => file.path)).to.deep.equal([
        `${ID}/config`,
        `${ID}/config/a.yml`,
      ]);
      expect((await files.list('', false)).map(file => file.name)).to.deep.equal([ID, other]);
    });
  });

  it('takes only UUIDs for servers and plain names for files', () => {
    expect(parseServerId(ID.toUpperCase())).to.equal(ID);
    for (const id of ['', '..', '.aymc', `${ID}/..`, 'survival']) {
      expect(() => parseServerId(id), id).to.throw(AgentError);
    }
    for (const name of ['server.jar', 'EssentialsX-2.20.1 (1).jar', 'Größe.jar', 'a'.repeat(200)]) {
      expect(parseFileName(name, 'f')).to.equal(name);
    }
    for (const name of ['', '.', '..', '.hidden', 'a/b', 'a\\b', 'a\0', 'a\nb', 'a'.repeat(201)]) {
      expect(() => parseFileName(name, 'f'), name).to.throw(AgentError);
    }
  });

  describe('append log', () => {
    it('has what it has promised after a crash in the middle of a line', async () => {
      const path = join(folder, 'log');
      const first = await AppendLog.open(path);
      await Promise.all([1, 2, 3].map(n => first.log.append({ n })));
      await first.log.close();
      await writeFile(path, '{"n":4', { flag: 'a' });
      const second = await AppendLog.open(path);
      expect(second.records).to.deep.equal([{ n: 1 }, { n: 2 }, { n: 3 }]);
      await second.log.append({ n: 5 });
      await second.log.close();
      const third = await AppendLog.open(path);
      expect(third.records.at(-1)).to.deep.equal({ n: 5 });
      expect(third.records).to.have.lengthOf(4);
      await third.log.close();
    });

    it('keeps appends that come while it is rewritten', async () => {
      const path = join(folder, 'log');
      const { log } = await AppendLog.open(path);
      for (let n = 0; n < 10; n++) await log.append({ n });
      const rewritten = log.rewrite(() => [{ n: 'kept' }]);
      await Promise.all([rewritten, log.append({ n: 'late' })]);
      await log.close();
      const { records, log: again } = await AppendLog.open(path);
      await again.close();
      expect(records.slice(-2)).to.deep.equal([{ n: 'kept' }, { n: 'late' }]);
      expect(records.length).to.be.within(2, 2);
    });
  });

  describe('settings', () => {
    it('name every fault at once', () => {
      const load = (): unknown =>
        loadConfig({
          AGENT_HOST: '0.0.0.0',
          AGENT_PORT: 'http',
          AGENT_ID: 'a b',
          AGENT_TLS_KEY: '/nowhere',
          LOG_LEVEL: 'loud',
        });
      expect(load).to.throw(ConfigError).with.property('problems').with.lengthOf.at.least(5);
    });

    it('want a token wherever others can call', () => {
      expect(() => loadConfig({ AGENT_HOST: '10.0.0.5', AGENT_ID: 'a' })).to.throw(/AGENT_TOKEN/);
      expect(loadConfig({ AGENT_HOST: '127.0.0.1', AGENT_ID: 'a' }).token).to.equal(undefined);
      expect(loadConfig({ AGENT_HOST: '10.0.0.5', AGENT_ID: 'a', AGENT_TOKEN: 't' }).port).to.equal(50051);
    });

    it('give a JVM no secret and nothing it does not need', () => {
      const { childEnv } = loadConfig({
        PATH: '/bin',
        HOME: '/h',
        AGENT_ID: 'a',
        AGENT_TOKEN: 't',
        SECRET: 's',
        AYMC_ORACLE: '/o',
      });
      expect(childEnv).to.deep.equal({
        PATH: '/bin',
        HOME: '/h',
        LANG: 'C.UTF-8',
        AYMC_AGENT_ID: 'a',
        AYMC_ORACLE: '/o',
      });
    });
  });
});
