import { createHash, randomBytes } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AgentError } from '../../agent/errors.js';
import { ArtifactCache } from '../../agent/work/artifactCache.js';
import { type Download, downloadFile } from '../../agent/work/download.js';
import { tinyJar } from '#test/harness/fakeJava.js';
import { type JarServer, serveJar } from '#test/harness/jarServer.js';
import { waitFor } from '#test/harness/waitFor.js';

const JAR = tinyJar(randomBytes(400_000).toString('hex'));
const SHA256 = createHash('sha256').update(JAR).digest('hex');

describe('agent download', function () {
  this.timeout(20_000);
  let folder: string;
  let upstream: JarServer;
  let abort: AbortController;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-download-'));
    await writeFile(join(folder, 'upstream.jar'), JAR);
    upstream = await serveJar(join(folder, 'upstream.jar'), {
      cutAfterBytes: 300_000,
      slowBytesPerSecond: 200_000,
    });
    abort = new AbortController();
  });

  afterEach(async () => {
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  });

  const part = (): string => join(folder, 'x.part');

  function download(overrides: Partial<Download> = {}): Promise<void> {
    return downloadFile({
      url: upstream.url,
      checksum: { algorithm: 'sha256', hex: SHA256 },
      sizeBytes: JAR.length,
      partPath: part(),
      refuses: () => false,
      signal: abort.signal,
      onProgress: () => undefined,
      ...overrides,
    });
  }

  async function codeOf(promise: Promise<unknown>): Promise<string> {
    const error: unknown = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error instanceof AgentError) return error.code;
    throw new Error('expected an AgentError', { cause: error });
  }

  it('brings the bytes and tells how many of how many', async () => {
    const seen: number[] = [];
    await download({
      onProgress: (done, total) => {
        expect(total).to.equal(JAR.length);
        seen.push(done);
      },
    });
    expect((await readFile(part())).equals(JAR)).to.equal(true);
    expect(seen).to.deep.equal([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).to.equal(JAR.length);
  });

  it('says who asks, and whom to write to about it', async () => {
    for (const contact of ['a\r\nX-Other: b', 'ä', 'a'.repeat(201)])
      expect(await codeOf(download({ contact })), contact).to.equal('invalid-request');
    await download({ contact: 'ops@example.test' });
    await rm(part());
    await download();
    const named = upstream.requests.map(({ userAgent }) => userAgent);
    expect(named[0]).to.equal(`${named[1]} (ops@example.test)`);
    expect(named[1]).to.match(/^aymc-agent\/[\d.]+$/);
  });

  it('goes on where a broken connection left it', async () => {
    upstream.misbehave('truncated', 2);
    await download();
    expect((await readFile(part())).equals(JAR)).to.equal(true);
    expect(upstream.requests.map(({ range }) => range !== undefined)).to.deep.equal([false, true, true]);
    // What the socket had taken in but not handed on when it broke comes again.
    expect(upstream.bytesServed()).to.be.lessThan(JAR.length + 2 * 128 * 1024);
  });

  it('goes on after its own death with what is on disk, sending nothing twice', async () => {
    await writeFile(part(), JAR.subarray(0, 500_000));
    await download();
    expect((await readFile(part())).equals(JAR)).to.equal(true);
    expect(upstream.bytesServed()).to.equal(JAR.length - 500_000);
  });

  it('begins anew where the upstream knows no ranges, or the rest does not fit', async () => {
    await writeFile(part(), JAR.subarray(0, 1000));
    await download({ url: upstream.urlWith('no-ranges') });
    expect((await readFile(part())).equals(JAR)).to.equal(true);
    await writeFile(part(), Buffer.alloc(500_000, 'another version'));
    await download();
    expect((await readFile(part())).equals(JAR)).to.equal(true);
  });

  it('stops at once when told to, and keeps what it has', async () => {
    const cancelled = download({ url: upstream.urlWith('slow') });
    await waitFor(async () => (await stat(part())).size > 0, { what: 'the first bytes' });
    abort.abort(new Error('enough'));
    const error: unknown = await cancelled.catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(Error).with.property('message', 'enough');
    expect((await stat(part())).size).to.be.within(1, JAR.length - 1);
  });

  for (const [what, code, keeps, given] of [
    [
      'an upstream that answers 500',
      'upstream-failed',
      false,
      () => ({ url: upstream.urlWith('error-500') }),
    ],
    ['a web page', 'upstream-not-a-jar', false, () => ({ url: upstream.urlWith('html-page') })],
    ['one flipped byte', 'checksum-mismatch', false, () => ({ url: upstream.urlWith('flipped-byte') })],
    ['a missing file', 'upstream-refused', false, () => ({ url: `${upstream.url}.missing` })],
    ['more bytes than promised', 'artifact-too-large', false, () => ({ sizeBytes: 1000 })],
    ['a URL that is none', 'invalid-request', false, () => ({ url: 'file:///etc/passwd' })],
    ['an upstream that is away', 'upstream-failed', false, () => ({ url: 'http://127.0.0.1:1/x.jar' })],
  ] as const) {
    it(`names ${what} ${code} and leaves nothing behind`, async () => {
      expect(await codeOf(download(given()))).to.equal(code);
      expect((await readdir(folder)).includes('x.part')).to.equal(keeps);
      await download();
      expect((await readFile(part())).equals(JAR), 'a retry works').to.equal(true);
    });
  }

  async function serveOnce(listener: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
    const server = createServer(listener).listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await use(`http://127.0.0.1:${port}/x.jar?signature=secret`).finally(() => {
      server.closeAllConnections();
      server.close();
    });
  }

  it('refuses to fill the disk, and shows no query string', async () => {
    const tooBig = 900 * 2 ** 40;
    await serveOnce(
      (_request, response) => response.writeHead(200, { 'content-length': tooBig }).flushHeaders(),
      async url => {
        expect(await codeOf(download({ url, sizeBytes: tooBig }))).to.equal('disk-full');
      },
    );
    await serveOnce(
      (_request, response) => response.writeHead(403).end(),
      async url => {
        const error: unknown = await download({ url }).catch((reason: unknown) => reason);
        expect(String(error)).to.include('/x.jar answered 403').and.not.include('secret');
      },
    );
  });

  it('follows redirects, but not for ever', async () => {
    await serveOnce(
      (_request, response) => response.writeHead(302, { location: upstream.url }).end(),
      url => download({ url }),
    );
    await serveOnce(
      (_request, response) => response.writeHead(302, { location: '/again' }).end(),
      async url => {
        expect(await codeOf(download({ url, partPath: `${part()}2` }))).to.equal('upstream-refused');
      },
    );
  });

  it('dials no refused address: not by number, not by name, not after a redirect', async () => {
    const port = new URL(upstream.url).port;
    const refuses = (address: string): boolean => address !== '127.0.0.1';
    const inside = [
      `http://127.0.0.2:${port}/x.jar`,
      `http://[::1]:${port}/x.jar`,
      `http://0x7f.2:${port}/x.jar`,
    ];
    for (const url of inside)
      expect(await codeOf(download({ url, refuses })), url).to.equal('private-address');
    const url = `http://localhost:${port}/x.jar`;
    expect(await codeOf(download({ url, refuses: () => true }))).to.equal('private-address');
    await serveOnce(
      (_request, response) => response.writeHead(302, { location: inside[0] }).end(),
      async redirecting => {
        expect(await codeOf(download({ url: redirecting, refuses }))).to.equal('private-address');
      },
    );
    expect(upstream.requests).to.deep.equal([]);
  });

  describe('cache', () => {
    const checksum = { algorithm: 'sha256', hex: SHA256 } as const;

    function get(cache: ArtifactCache, signal = abort.signal): Promise<string> {
      return cache.get({ checksum, url: upstream.url, sizeBytes: 0, signal, onProgress: () => undefined });
    }

    it('downloads a jar once, however many want it at once', async () => {
      const cache = new ArtifactCache(join(folder, 'cache'), () => false);
      const paths = await Promise.all([1, 2, 3].map(() => get(cache)));
      expect(new Set(paths).size).to.equal(1);
      expect(upstream.requests).to.have.lengthOf(1);
    });

    it('does not hand out a file that has rotted', async () => {
      const cache = new ArtifactCache(join(folder, 'cache'), () => false);
      const path = await get(cache);
      await writeFile(path, 'rotten');
      expect((await readFile(await get(cache))).equals(JAR)).to.equal(true);
    });

    it('lets the others go on when the one who downloads is cancelled', async () => {
      upstream.misbehave('slow', 1);
      const cache = new ArtifactCache(join(folder, 'cache'), () => false);
      const first = new AbortController();
      const cancelled = get(cache, first.signal).catch((error: unknown) => error);
      await waitFor(() => upstream.bytesServed() > 0, { what: 'the download' });
      const second = get(cache);
      first.abort(new Error('cancelled'));
      expect(await cancelled).to.be.instanceOf(Error);
      expect((await readFile(await second)).equals(JAR)).to.equal(true);
    });
  });
});
