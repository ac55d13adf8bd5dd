import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { FileKind, type BeginUpload, type FilePath } from '#proto/gen/agent.js';
import { AgentError } from '../../agent/errors.js';
import { agentPaths } from '../../agent/server/paths.js';
import { ServerFiles } from '../../agent/serverFiles/serverFiles.js';
import { waitFor } from '../harness/waitFor.js';

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof AgentError) return error.code;
    throw error;
  }
}

describe('files of a server, on its host', () => {
  const serverId = randomUUID();
  const otherId = randomUUID();
  let workDir: string;
  let folder: string;
  let files: ServerFiles;

  beforeEach(async () => {
    workDir = await realpath(await mkdtemp(join(tmpdir(), 'aymc-files-')));
    folder = join(workDir, serverId);
    await Promise.all([serverId, otherId, '.aymc'].map(name => mkdir(join(workDir, name))));
    await writeFile(join(workDir, otherId, 'ops.json'), 'secret');
    await writeFile(join(workDir, '.aymc', 'ledger.jsonl'), 'secret');
    files = new ServerFiles(agentPaths(workDir), pino({ level: 'silent' }));
  });
  afterEach(() => rm(workDir, { recursive: true, force: true }));

  const at = (path: string): FilePath => ({ serverId, path });
  const begin = (path: string, expected?: BeginUpload['expected'], createFolders = true) =>
    files.beginUpload({ file: at(path), createFolders, expected });
  async function put(
    path: string,
    text: string,
    expected?: BeginUpload['expected'],
    createFolders = true,
  ): Promise<string> {
    const upload = await begin(path, expected, createFolders);
    try {
      await upload.write(Buffer.from(text));
      return (await upload.finish(Buffer.byteLength(text))).facts?.etag ?? '';
    } finally {
      await upload.discard();
    }
  }
  async function get(path: string): Promise<string> {
    const content = await files.open({ file: at(path), offset: 0, length: 0 });
    const chunks: Buffer[] = [];
    for await (const chunk of content.chunks()) chunks.push(chunk);
    await content.close();
    return Buffer.concat(chunks).toString();
  }
  const everyCall = (path: string): Promise<unknown>[] => [
    files.list(at(path)),
    get(path),
    put(path, 'x'),
    files.makeFolder(at(path)),
    files.remove(at(path)),
    files.rename({ from: at(path), to: 'new' }),
    files.rename({ from: at('real'), to: path }),
  ];
  async function assertUntouched(): Promise<void> {
    expect(await readFile(join(workDir, otherId, 'ops.json'), 'utf8')).to.equal('secret');
    expect(await readdir(join(workDir, otherId))).to.deep.equal(['ops.json']);
    expect(await readFile(join(workDir, '.aymc', 'ledger.jsonl'), 'utf8')).to.equal('secret');
  }

  for (const path of ['..', '../x', 'a/../../x', '/etc/passwd', '/', 'a\0b', `../${otherId}/ops.json`]) {
    it(`${JSON.stringify(path)} is refused by every call`, async () => {
      const codes = await Promise.all(everyCall(path).map(codeOf));
      expect(new Set(codes)).to.deep.equal(new Set(['invalid-path']));
      await assertUntouched();
    });
  }

  it('no link leads out, neither at the end nor on the way, and not into the agent’s own folder', async () => {
    await writeFile(join(folder, 'real'), 'inside');
    await symlink(join(workDir, otherId), join(folder, 'neighbour'));
    await symlink(join(workDir, '.aymc'), join(folder, 'agent'));
    await symlink('../..', join(folder, 'up'));
    await symlink(join(workDir, otherId, 'ops.json'), join(folder, 'ops.json'));
    for (const path of [
      'neighbour/ops.json',
      'agent/ledger.jsonl',
      `up/${otherId}/x`,
      'neighbour/new/deeper',
    ]) {
      const codes = await Promise.all(everyCall(path).map(codeOf));
      expect(new Set(codes), path).to.deep.equal(new Set(['invalid-path']));
    }
    expect(await codeOf(get('ops.json'))).to.equal('invalid-path');
    expect(await codeOf(put('ops.json', 'x'))).to.equal('invalid-path');
    expect(await codeOf(files.list(at('neighbour')))).to.equal('invalid-path');
    await assertUntouched();
  });

  it('a link is renamed and removed itself, wherever it leads, and what it leads to stays', async () => {
    await symlink(join(workDir, otherId), join(folder, 'neighbour'));
    await symlink('nowhere', join(folder, 'dangling'));
    expect((await files.rename({ from: at('neighbour'), to: 'link' })).kind).to.equal(FileKind.LINK);
    await files.remove(at('link'));
    await files.remove(at('dangling'));
    expect(await readdir(folder)).to.deep.equal([]);
    await waitFor(async () => (await readdir(join(workDir, '.aymc/trash'))).length === 0, {
      what: 'an empty trash',
    });
    await assertUntouched();
  });

  it('a folder that is swapped for a link while we look leads nowhere', async function () {
    this.timeout(20_000);
    await mkdir(join(folder, 'door'));
    await writeFile(join(folder, 'door', 'ops.json'), 'inside');
    await symlink(join(workDir, otherId), join(folder, 'trap'));
    const over = new AbortController();
    const swapping = (async () => {
      while (!over.signal.aborted) {
        await rename(join(folder, 'door'), join(folder, 'aside'));
        await rename(join(folder, 'trap'), join(folder, 'door'));
        await rename(join(folder, 'door'), join(folder, 'trap'));
        await rename(join(folder, 'aside'), join(folder, 'door'));
      }
    })();
    const seen = new Set<string | undefined>();
    try {
      for (let round = 0; round < 300; round++) {
        const read = get('door/ops.json').then(text => expect(text).to.equal('inside'));
        seen.add(await codeOf(read));
        seen.add(await codeOf(put('door/new', 'x', undefined, false)));
        seen.add(await codeOf(files.remove(at('door/new'))));
      }
    } finally {
      over.abort();
      await swapping;
    }
    expect([...seen].filter(code => code !== undefined)).to.have.members(
      [...seen].filter(code => code === 'invalid-path' || code === 'file-not-found'),
    );
    await assertUntouched();
  });

  it('a server without a folder is told apart from a file that is missing', async () => {
    expect(await codeOf(files.list({ serverId: randomUUID(), path: '' }))).to.equal('not-installed');
    expect(await codeOf(files.list({ serverId: 'survival', path: '' }))).to.equal('invalid-request');
    expect(await codeOf(get('none'))).to.equal('file-not-found');
  });

  it('pipes and folders are no files, and opening them waits for nobody', async () => {
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await mkdir(join(folder, 'world'));
    for (const path of ['pipe', 'world']) {
      expect(await codeOf(get(path)), path).to.equal('invalid-path');
      expect(await codeOf(put(path, 'x')), path).to.equal('invalid-path');
    }
    const kinds = (await files.list(at(''))).map(({ path, kind }) => [path, kind]);
    expect(kinds).to.deep.equal([
      ['pipe', FileKind.OTHER],
      ['world', FileKind.FOLDER],
    ]);
  });

  it('a tag changes with every write, also with one of the same length, and with one past us', async () => {
    const tags = new Set<string>();
    for (const text of ['aaaa', 'bbbb', 'aaaa']) tags.add(await put('a.txt', text));
    await writeFile(join(folder, 'a.txt'), 'longer');
    tags.add((await files.list(at('')))[0]?.etag ?? '');
    expect(tags.size).to.equal(4);
    expect([...tags].every(tag => /^[a-z0-9-]{1,100}$/.test(tag))).to.equal(true);
  });

  it('a file that is cut while it is read says so, instead of ending early', async () => {
    await writeFile(join(folder, 'ops.json'), '[{"name":"Steve"}]');
    const content = await files.open({ file: at('ops.json'), offset: 0, length: 0 });
    await truncate(join(folder, 'ops.json'));
    expect(await codeOf(content.chunks().next())).to.equal('file-changing');
    await content.close();
  });

  it('an upload is unseen until it is whole, keeps the permissions, and is gone when it is given up', async () => {
    await writeFile(join(folder, 'start.sh'), 'old');
    await chmod(join(folder, 'start.sh'), 0o750);
    const upload = await begin('start.sh');
    await upload.write(Buffer.from('new'));
    expect(await readdir(folder)).to.deep.equal(['start.sh']);
    expect(await get('start.sh')).to.equal('old');
    expect(await codeOf(upload.finish(4))).to.equal('invalid-request');
    await upload.discard();
    expect(await readdir(join(workDir, '.aymc/uploads'))).to.deep.equal([]);
    await put('start.sh', 'new');
    expect((await stat(join(folder, 'start.sh'))).mode & 0o777).to.equal(0o750);
  });

  it('what must be there is looked at again in the moment in which it counts', async () => {
    const etag = await put('a.txt', 'one');
    const slow = await begin('a.txt', { $case: 'etag', etag });
    await slow.write(Buffer.from('slow'));
    await put('a.txt', 'quick', { $case: 'etag', etag });
    expect(await codeOf(slow.finish(4))).to.equal('precondition-failed');
    await slow.discard();
    const late = await begin('b.txt', { $case: 'nothing', nothing: true });
    await put('b.txt', 'first');
    expect(await codeOf(late.finish(0))).to.equal('precondition-failed');
    await late.discard();
    expect([await get('a.txt'), await get('b.txt')]).to.deep.equal(['quick', 'first']);
  });

  it('a folder is removed at once, whatever is in it, and the trash is emptied behind it', async () => {
    await mkdir(join(folder, 'world/region'), { recursive: true });
    await Promise.all(
      Array.from({ length: 50 }, (_, n) => writeFile(join(folder, `world/region/${n}`), 'x')),
    );
    await symlink(join(workDir, otherId), join(folder, 'world/neighbour'));
    await files.remove(at('world'));
    expect(await readdir(folder)).to.deep.equal([]);
    await waitFor(async () => (await readdir(join(workDir, '.aymc/trash'))).length === 0, {
      what: 'an empty trash',
    });
    await assertUntouched();
  });
});
