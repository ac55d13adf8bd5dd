import { expect } from 'chai';
import { AppError } from '#src/domain/errors.js';
import { createResolveArtifact } from '#src/provisioning/resolveArtifact.js';

const own = {
  server_type: 'vanilla',
  version: '1.21.4',
  jar_url: 'http://127.0.0.1/x.jar',
  jar_sha256: 'AB'.repeat(32),
};
const named = { ...own, jar_url: null, jar_sha256: null };

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

describe('resolveArtifact', () => {
  it("a server's own jar wins over its type's source, its checksum in lower case", async () => {
    const source = {
      versions: () => Promise.resolve([]),
      find: () => Promise.resolve({ url: 'https://up/stream.jar' }),
    };
    const resolve = createResolveArtifact({
      urls: { allowPrivate: true },
      sources: new Map([['vanilla', source]]),
      contact: 'ops@example.test',
    });
    expect(await resolve(own)).to.deep.equal({
      url: own.jar_url,
      sha256: 'ab'.repeat(32),
    });
    expect(await resolve(named), 'of an upstream, which is told whom to write to').to.deep.equal({
      url: 'https://up/stream.jar',
      contact: 'ops@example.test',
    });
  });

  it('a type without a source, or a version that its source lacks, is artifact-unknown', async () => {
    const empty = { find: () => Promise.resolve(null), versions: () => Promise.resolve([]) };
    const resolve = createResolveArtifact({
      urls: { allowPrivate: true },
      sources: new Map([['paper', empty]]),
    });
    expect(await codeOf(resolve(named))).to.equal('artifact-unknown');
    expect(await codeOf(resolve({ ...named, server_type: 'paper' }))).to.equal('artifact-unknown');
  });

  it("looks at the user's URL again when it is about to be fetched: its name may have moved inside", async () => {
    const resolve = createResolveArtifact({
      urls: { allowPrivate: false, resolve: () => Promise.resolve(['10.0.0.7']) },
    });
    expect(await codeOf(resolve({ ...own, jar_url: 'https://moved.example/x.jar' }))).to.equal(
      'private-address',
    );
  });
});
