import { expect } from 'chai';
import { AppError } from '#src/domain/errors.js';
import { hasJava, platformOf } from '#src/domain/javaRuntimes.js';
import { createFindJava, type FindJava } from '#src/provisioning/adoptium.js';
import { Upstream } from '#src/provisioning/upstream.js';
import { type AdoptiumServer, serveAdoptium } from '#test/upstreams/adoptium.js';

const SHA256 = 'ab'.repeat(32);
const common = { architecture: 'x64', os: 'linux', size: 52_000_000, checksum: SHA256.toUpperCase() };

describe('Java from Adoptium', () => {
  let upstream: AdoptiumServer;
  let findJava: FindJava;

  beforeEach(async () => {
    upstream = await serveAdoptium([
      { ...common, major: 21, imageType: 'jdk', link: 'https://files.example/jdk-21.tar.gz' },
      { ...common, major: 21, imageType: 'jre', link: 'https://files.example/jre-21.tar.gz' },
      { ...common, major: 16, imageType: 'jdk', link: 'https://files.example/jdk-16.tar.gz' },
      {
        ...common,
        major: 21,
        imageType: 'jre',
        os: 'alpine-linux',
        architecture: 'aarch64',
        link: 'https://files.example/musl-21.tar.gz',
      },
    ]);
    findJava = createFindJava(
      new Upstream({
        name: 'Adoptium',
        base: upstream.url,
        urls: { allowPrivate: false },
        userAgent: 'AYMC (test@example.org)',
        maxBytes: 256 * 1024,
      }),
    );
  });

  afterEach(() => upstream.close());

  it('is a JRE by its GitHub link, with size and checksum', async () => {
    expect(await findJava(21, { os: 'linux', arch: 'x64' })).to.deep.equal({
      url: 'https://files.example/jre-21.tar.gz',
      sha256: SHA256,
      size: 52_000_000,
    });
    expect(upstream.requests).to.deep.equal([
      '/v3/assets/latest/21/hotspot?architecture=x64&image_type=jre&os=linux&vendor=eclipse',
    ]);
  });

  it('is a JDK where a version has no JRE, and nothing where it has neither', async () => {
    expect(await findJava(16, { os: 'linux', arch: 'x64' })).to.have.property(
      'url',
      'https://files.example/jdk-16.tar.gz',
    );
    expect(await findJava(9, { os: 'linux', arch: 'x64' })).to.equal(null);
  });

  it('is built for the C library and the processor of the agent', async () => {
    expect(await findJava(21, { os: 'alpine-linux', arch: 'arm64' })).to.have.property(
      'url',
      'https://files.example/musl-21.tar.gz',
    );
    const asked = upstream.requests.length;
    expect(await findJava(21, { os: 'linux', arch: 'mips' })).to.equal(null);
    expect(upstream.requests, 'no word for that processor').to.have.lengthOf(asked);
  });

  for (const [what, status, body] of [
    ['a failure', 500, 'oops'],
    ['a refusal', 400, '{"errorMessage":"Unknown value"}'],
    ['a web page', 200, '<!doctype html>'],
    ['another shape', 200, '{"binary":{}}'],
    ['a build without a package', 200, '[{"binary":{}}]'],
    [
      'a build without a checksum',
      200,
      '[{"binary":{"package":{"link":"https://a.example/x","size":5,"checksum":null}}}]',
    ],
    [
      'a size that can not be',
      200,
      `[{"binary":{"package":{"link":"https://a.example/x","size":-1,"checksum":"${SHA256}"}}}]`,
    ],
    ['an answer without end', 200, `[${' '.repeat(300 * 1024)}]`],
  ] as const) {
    it(`takes ${what} for upstream-failed`, async () => {
      upstream.misbehave({ status, body });
      const error: unknown = await findJava(21, { os: 'linux', arch: 'x64' }).catch(
        (reason: unknown) => reason,
      );
      expect(error).to.be.instanceOf(AppError).with.property('code', 'upstream-failed');
    });
  }

  it('is upstream-failed, too, when nobody is there', async () => {
    await upstream.close();
    const error: unknown = await findJava(21, { os: 'linux', arch: 'x64' }).catch(
      (reason: unknown) => reason,
    );
    expect(error).to.be.instanceOf(AppError).with.property('code', 'upstream-failed');
    upstream = await serveAdoptium([]);
  });
});

describe('what an agent says of its Java', () => {
  const capabilities = { java_runtimes: [{ major: 17 }, { major: 25 }], arch: 'arm64' };

  it('fits what is pinned exactly, else what is new enough', () => {
    expect(hasJava(capabilities, { major: 21, pinned: false })).to.equal(true);
    expect(hasJava(capabilities, { major: 21, pinned: true })).to.equal(false);
    expect(hasJava(capabilities, { major: 26, pinned: false })).to.equal(false);
    for (const unknown of [null, {}, { java_runtimes: 'x' }, { java_runtimes: [null, { major: '21' }] }])
      expect(hasJava(unknown, { major: 8, pinned: false })).to.equal(false);
  });

  it('names its platform, or none before it has said', () => {
    expect(platformOf('Debian GNU/Linux 12', capabilities)).to.deep.equal({ os: 'linux', arch: 'arm64' });
    expect(platformOf('Alpine Linux v3.20', capabilities)).to.have.property('os', 'alpine-linux');
    expect(platformOf('Linux', null)).to.equal(null);
    expect(platformOf('Linux', { arch: '' })).to.equal(null);
  });
});
