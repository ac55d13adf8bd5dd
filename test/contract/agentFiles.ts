import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { FileKind } from '#proto/gen/agent.js';
import type { Download, FileTarget, UploadRules } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { waitFor } from '#test/harness/waitFor.js';
import type { AgentDriver } from './agentDriver.js';

const PUT: UploadRules = { expected: 'anything', createFolders: true };

/** The part of the contract about files. */
export function describeAgentFiles(driver: () => AgentDriver): void {
  const target = (path: string): FileTarget => ({ serverId: driver().serverId, path, workDir: null });
  const put = (path: string, content: Buffer | string, rules: Partial<UploadRules> = {}) =>
    driver().gateway.files.upload(
      driver().address,
      target(path),
      { ...PUT, ...rules },
      inPieces(Buffer.from(content)),
    );
  const get = (path: string, offset = 0, length = 0) =>
    driver().gateway.files.download(driver().address, target(path), { offset, length });
  const list = async (path: string) =>
    (await driver().gateway.files.list(driver().address, target(path))).map(({ path: listed }) => listed);
  const remove = (path: string) => driver().gateway.files.remove(driver().address, target(path));
  const rename = (from: string, to: string) =>
    driver().gateway.files.rename(driver().address, target(from), to);
  const makeFolder = (path: string) => driver().gateway.files.makeFolder(driver().address, target(path));

  beforeEach(() => driver().provision());

  it('gives back the bytes of a file as they came, with their hash and one name for that content', async () => {
    const content = randomBytes(3_000_001);
    const stored = await put('config/deep/data.bin', content);
    expect(stored.sha256).to.equal(createHash('sha256').update(content).digest('hex'));
    expect(stored.facts).to.include({
      path: 'config/deep/data.bin',
      kind: FileKind.FILE,
      sizeBytes: 3_000_001,
    });
    const download = await get('config/deep/data.bin');
    expect(download.opened.facts?.etag).to.equal(stored.facts?.etag).and.not.equal('');
    expect((await bytesOf(download)).equals(content)).to.equal(true);
    expect(await list('config')).to.deep.equal(['config/deep']);
    expect(await list('config/deep')).to.deep.equal(['config/deep/data.bin']);
  });

  it('gives the part of a file that is asked for', async () => {
    await put('a.txt', '0123456789');
    const part = async (offset: number, length: number) =>
      (await bytesOf(await get('a.txt', offset, length))).toString();
    expect(await part(3, 4)).to.equal('3456');
    expect(await part(8, 100)).to.equal('89');
    expect(await part(-3, 0)).to.equal('789');
    expect(await part(-100, 0)).to.equal('0123456789');
    expect((await get('a.txt', 10, 5)).opened.length).to.equal(0);
  });

  it('stores a file only over what is expected there', async () => {
    const first = await put('a.txt', 'one', { expected: 'nothing' });
    expect(await rejectionCode(put('a.txt', 'two', { expected: 'nothing' }))).to.equal('precondition-failed');
    const etag = first.facts?.etag ?? '';
    await put('a.txt', 'two', { expected: { etag } });
    expect(await rejectionCode(put('a.txt', 'three', { expected: { etag } }))).to.equal(
      'precondition-failed',
    );
    expect(await rejectionCode(put('b.txt', 'x', { expected: { etag } }))).to.equal('precondition-failed');
    expect((await bytesOf(await get('a.txt'))).toString()).to.equal('two');
  });

  it('lets one of many writers win that expect the same', async () => {
    const etag = (await put('a.txt', 'zero')).facts?.etag ?? '';
    const rivals = Array.from({ length: 8 }, (_, n) => put('a.txt', `rival ${n}`, { expected: { etag } }));
    const ends = await Promise.allSettled(rivals);
    const winners = ends.flatMap((end, n) => (end.status === 'fulfilled' ? [n] : []));
    expect(winners).to.have.length(1);
    expect((await bytesOf(await get('a.txt'))).toString()).to.equal(`rival ${winners[0]}`);
  });

  it('keeps what was there when an upload breaks off', async () => {
    await put('a.txt', 'whole');
    async function* broken(): AsyncGenerator<Buffer> {
      yield randomBytes(600_000);
      throw new AppError('request-timeout');
    }
    const upload = driver().gateway.files.upload(driver().address, target('a.txt'), PUT, broken());
    expect(await rejectionCode(upload)).to.equal('request-timeout');
    expect((await bytesOf(await get('a.txt'))).toString()).to.equal('whole');
    expect(await list(''))
      .to.include('a.txt')
      .and.not.include.members(['a.txt.part']);
  });

  it('stops sending what nobody takes any more', async () => {
    await put('big.bin', randomBytes(20_000_000));
    const hangUp = new AbortController();
    const { content } = await driver().gateway.files.download(
      driver().address,
      target('big.bin'),
      { offset: 0, length: 0 },
      { signal: hangUp.signal },
    );
    await content.next();
    hangUp.abort();
    await waitFor(() => rejectionCode(content.next()).catch(() => null), { what: 'the end of the download' });
    await content.return();
  });

  it('moves and removes files and whole folders, but never over something', async () => {
    await makeFolder('plugins/Essentials');
    expect(await rejectionCode(makeFolder('plugins'))).to.equal('file-exists');
    await put('plugins/Essentials/config.yml', 'a: 1');
    await put('plugins/other.jar', 'jar');
    expect(await rejectionCode(rename('plugins/Essentials', 'plugins/other.jar'))).to.equal('file-exists');
    expect((await rename('plugins/Essentials', 'kept')).path).to.equal('kept');
    expect(await list('kept')).to.deep.equal(['kept/config.yml']);
    await remove('kept');
    expect(await list('')).to.not.include('kept');
    expect(await rejectionCode(remove('kept'))).to.equal('file-not-found');
    expect(await rejectionCode(get('kept/config.yml'))).to.equal('file-not-found');
  });

  it('refuses every path that leaves the server’s folder, and the folder itself where something in it is meant', async () => {
    for (const path of ['../x', 'a/../../x', '/etc/passwd', 'a\0b']) {
      const calls = [
        list(path),
        get(path),
        put(path, 'x'),
        remove(path),
        makeFolder(path),
        rename('a', path),
      ];
      const codes = await Promise.all(calls.map(call => rejectionCode(call)));
      expect(new Set(codes), JSON.stringify(path)).to.deep.equal(new Set(['invalid-path']));
    }
    const whole = [get(''), put('', 'x'), remove(''), makeFolder('.')];
    const codes = await Promise.all(whole.map(call => rejectionCode(call)));
    expect(new Set(codes)).to.deep.equal(new Set(['invalid-path']));
  });
}

async function* inPieces(content: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < content.length; at += 300_000) yield content.subarray(at, at + 300_000);
}

async function bytesOf({ content }: Download): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
}
