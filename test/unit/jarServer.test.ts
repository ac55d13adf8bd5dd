import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { serveJar, type JarServer } from '#test/harness/jarServer.js';

describe('the jar server of the tests', () => {
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
  let dir: string;
  let server: JarServer;

  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'jar-server-'));
    await writeFile(path.join(dir, 'server.jar'), content);
  });

  beforeEach(async () => {
    server = await serveJar(path.join(dir, 'server.jar'), {
      cutAfterBytes: 1000,
      slowBytesPerSecond: 1_500_000,
    });
  });

  afterEach(() => server.close());

  after(() => rm(dir, { recursive: true, force: true }));

  async function download(url: string, headers: Record<string, string> = {}): Promise<Buffer> {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(5_000) });
    return Buffer.from(await response.arrayBuffer());
  }

  it('serves the whole file and counts it', async () => {
    expect((await download(server.url)).equals(content)).to.equal(true);
    expect(server.requests).to.deep.equal([
      {
        method: 'GET',
        path: '/server.jar',
        range: undefined,
        userAgent: 'node',
        status: 200,
        bytes: 300_000,
        fault: undefined,
      },
    ]);
    expect(server.bytesServed()).to.equal(300_000);
  });

  it('answers the ranges that a resuming client asks for', async () => {
    const ask = (range: string): Promise<Response> => fetch(server.url, { headers: { range } });
    const rest = await ask('bytes=299990-');
    expect([rest.status, rest.headers.get('content-range')]).to.deep.equal([
      206,
      'bytes 299990-299999/300000',
    ]);
    expect(Buffer.from(await rest.arrayBuffer()).equals(content.subarray(299_990))).to.equal(true);
    expect(Buffer.from(await (await ask('bytes=5-7')).arrayBuffer()).equals(content.subarray(5, 8))).to.equal(
      true,
    );
    expect(Buffer.from(await (await ask('bytes=-4')).arrayBuffer()).equals(content.subarray(-4))).to.equal(
      true,
    );
    const beyond = await ask('bytes=300000-');
    expect([beyond.status, beyond.headers.get('content-range')]).to.deep.equal([416, 'bytes */300000']);
  });

  it('sends the whole file when If-Range names another version of it', async () => {
    const range = 'bytes=10-19';
    const etag = (await fetch(server.url, { method: 'HEAD' })).headers.get('etag') ?? '';
    expect(await download(server.url, { range, 'if-range': etag })).to.have.lengthOf(10);
    expect(await download(server.url, { range, 'if-range': '"another"' })).to.have.lengthOf(300_000);
  });

  it('fails in every way it is told to by the URL', async () => {
    expect((await fetch(server.urlWith('error-500'))).status).to.equal(500);
    expect(await (await fetch(server.urlWith('html-page'))).text()).to.match(/^<!doctype html>/);
    expect(await failureOf(download(server.urlWith('truncated')))).to.be.instanceOf(TypeError);
    expect(server.requests.at(-1)).to.include({ status: 200, bytes: 1000 });
    const flipped = await download(server.urlWith('flipped-byte'));
    expect(flipped.filter((byte, index) => byte !== content[index])).to.have.lengthOf(1);
    const unranged = await fetch(server.urlWith('no-ranges'), { headers: { range: 'bytes=5-7' } });
    expect([unranged.status, (await unranged.arrayBuffer()).byteLength]).to.deep.equal([200, 300_000]);
    const began = performance.now();
    await download(server.urlWith('slow'));
    expect(performance.now() - began).to.be.greaterThan(150);
    const stalled = fetch(server.urlWith('stalled'), { signal: AbortSignal.timeout(200) });
    expect(await failureOf(stalled.then(response => response.arrayBuffer()))).to.include({
      name: 'TimeoutError',
    });
  });

  it('fails as often as it is told to, and is well again', async () => {
    server.misbehave('error-500', 2);
    const statuses: number[] = [];
    for (let time = 0; time < 3; time++) {
      const response = await fetch(server.url);
      // Read to its end: an answer that nobody reads keeps its connection.
      await response.arrayBuffer();
      statuses.push(response.status);
    }
    expect(statuses).to.deep.equal([500, 500, 200]);
    server.misbehave('html-page');
    server.misbehave(undefined);
    expect((await download(server.url)).equals(content)).to.equal(true);
  });
});

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}
