import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { SERVER_TYPES, type ServerType } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { createSources, type SourceOptions } from '#src/provisioning/sources.js';
import { serveUpstream, json, type UpstreamFault } from '#test/upstreams/serve.js';
import { startUpstreams, type LocalUpstreams } from '#test/upstreams/upstreams.js';

const file = Buffer.from('PK\u0003\u0004 stands for a jar: nothing here looks into it');
const hashOf = (algorithm: string) => createHash(algorithm).update(file).digest('hex');

/** What the upstreams have, by type: versions as they are listed, newest first. */
const LISTED: Record<ServerType, string[]> = {
  vanilla: ['26.2-snapshot-3', '26.1.2', '1.21.4', '24w14a', '1.14.2 Pre-Release 4', '1.7.10', '1.0'],
  paper: ['26.1.2', '1.21.11-rc3', '1.21.4', '1.9.4'],
  purpur: ['26.1.2', '1.21.4', '1.20.6', '1.14.1'],
  fabric: ['26.2-snapshot-3', '26.1.2', '1.21.4'],
  forge: ['26.1.2', '1.21.4', '1.20.1', '1.7.10', '1.7.10_pre4', '1.7.2', '1.1'],
  spigot: ['26.1.2', '1.21.4', '1.20.1', '1.14-pre5', '1.8.8'],
};

describe('the sources of server types', function () {
  this.timeout(20_000);
  let upstreams: LocalUpstreams;
  beforeEach(async () => {
    upstreams = await startUpstreams(file);
  });
  afterEach(() => upstreams.close());

  const sourcesWith = (options: Partial<SourceOptions> = {}) =>
    createSources({
      bases: upstreams.bases,
      urls: { allowPrivate: false },
      userAgent: 'AYMC (ops@example.test)',
      ...options,
    });
  const find = (type: ServerType, version: string, options: Partial<SourceOptions> = {}) =>
    sourcesWith(options)[type].find({ server_type: type, version, jar_url: null, jar_sha256: null });
  const download = async (url: string) => Buffer.from(await (await fetch(url)).arrayBuffer());

  it('name a file of each type that is really there, by the strongest hash that the upstream gives', async () => {
    const found = await Promise.all(
      SERVER_TYPES.map(async type => [type, await find(type, '1.21.4')] as const),
    );
    const { of } = upstreams;
    expect(Object.fromEntries(found)).to.deep.equal({
      vanilla: {
        url: `${of.vanilla.url}/v1/objects/${hashOf('sha1')}/server.jar`,
        sha1: hashOf('sha1'),
        size: file.length,
        javaMajor: 21,
      },
      paper: {
        url: `${new URL(of.paper.url).origin}/v1/objects/${hashOf('sha256')}/paper-1.21.4-231.jar`,
        sha256: hashOf('sha256'),
        size: file.length,
        javaMajor: 21,
      },
      purpur: { url: `${of.purpur.url}/purpur/1.21.4/2416/download`, md5: hashOf('md5') },
      fabric: { url: `${of.fabric.url}/versions/loader/1.21.4/0.16.10/1.1.0/server/jar` },
      forge: {
        kind: 'forge-installer',
        url: `${of.forge.url}/net/minecraftforge/forge/1.21.4-54.1.0/forge-1.21.4-54.1.0-installer.jar`,
        sha1: hashOf('sha1'),
      },
      spigot: {
        kind: 'build-tools',
        url: `${of.spigot.url}/jenkins/job/BuildTools/lastSuccessfulBuild/artifact/target/BuildTools.jar`,
        javaMajor: 21,
      },
    });
    for (const [type, artifact] of found)
      expect(await download(artifact?.url ?? ''), type).to.deep.equal(file);
  });

  it('know year-based versions like any other', async () => {
    for (const type of SERVER_TYPES) {
      const artifact = await find(type, '26.1.2');
      expect(artifact?.url, type).to.be.a('string');
      if (type === 'vanilla' || type === 'paper' || type === 'spigot')
        expect(artifact?.javaMajor, type).to.equal(25);
    }
  });

  it('list what there is, newest first, and tell releases from the rest', async () => {
    const sources = sourcesWith();
    for (const type of SERVER_TYPES) {
      const versions = await sources[type].versions();
      expect(
        versions.map(({ version }) => version),
        type,
      ).to.deep.equal(LISTED[type]);
      const unstable = versions.filter(({ stable }) => !stable).map(({ version }) => version);
      expect(unstable, type).to.deep.equal(LISTED[type].filter(version => !/^[\d.]+$/.test(version)));
    }
    expect((await sources.paper.versions())[0]).to.deep.equal({
      version: '26.1.2',
      stable: true,
      java_major: 25,
    });
  });

  it('have nothing for a version that is not there, or that has no file', async () => {
    for (const type of SERVER_TYPES) {
      expect(await find(type, '1.99.9'), type).to.equal(null);
      expect(await find(type, '../../admin'), type).to.equal(null);
    }
    expect(await find('vanilla', '1.0'), 'without a server').to.equal(null);
    expect(await find('paper', '1.9.4'), 'without a build').to.equal(null);
    expect(await find('purpur', '1.20.6'), 'never built').to.equal(null);
    expect(await find('fabric', '1.3.2'), 'without a loader').to.equal(null);
    expect(await find('forge', '1.1'), 'without an installer').to.equal(null);
  });

  it('take an unstable build only where there is no stable one, and old names of builds for what they are', async () => {
    expect((await find('paper', '26.1.2'))?.url).to.match(/paper-26\.1\.2-12\.jar$/);
    expect((await find('forge', '1.7.10'))?.url).to.match(
      /forge-1\.7\.10-10\.13\.4\.1614-1\.7\.10-installer\.jar$/,
    );
    expect((await find('forge', '1.7.2'))?.url).to.match(
      /forge-1\.7\.2-10\.12\.2\.1161-mc172-installer\.jar$/,
    );
    expect((await find('vanilla', '1.7.10'))?.javaMajor).to.equal(8);
    expect((await find('spigot', '1.8.8'))?.javaMajor).to.equal(8);
  });

  it('say who asks: PaperMC turns others away', async () => {
    await find('paper', '1.21.4');
    expect(upstreams.of.paper.requests.map(({ userAgent }) => userAgent)).to.deep.equal(
      upstreams.of.paper.requests.map(() => 'AYMC (ops@example.test)'),
    );
  });

  const FAULTS: [fault: UpstreamFault, says: RegExp][] = [
    ['html-page', /no JSON|no list of versions/],
    ['wrong-shape', /another shape|no list of versions/],
    ['error-500', /answered 500/],
    ['rate-limited', /answered 429/],
    ['silent', /did not answer in time/],
    ['oversize', /sent more than/],
    ['redirect', /nothing may be fetched/],
  ];
  for (const [fault, says] of FAULTS) {
    it(`are upstream-failed when the upstream is ${fault}, whether for a version or for the list`, async () => {
      const inside = await serveUpstream(() => ({
        answers: {},
        missing: json({ secret: 'of a neighbour' }),
      }));
      try {
        for (const type of SERVER_TYPES) {
          upstreams.of[type].redirectTo(inside.url);
          upstreams.of[type].misbehave(fault);
          const limits = { timeoutMs: fault === 'silent' ? 100 : 5_000, maxBytes: 256 * 1024 };
          // Its file is asked for by name, so a page in its place is no list; the list itself is a page.
          const asked = [find(type, '1.20.1', limits), sourcesWith(limits)[type].versions()];
          for (const error of await Promise.all(asked.map(errorOf))) {
            expect(error.code, type).to.equal('upstream-failed');
            expect(error.retryable).to.equal(true);
            expect(error.detail, type).to.match(says);
            expect(error.retryAfterS, type).to.equal(fault === 'rate-limited' ? 7 : undefined);
          }
        }
        expect(inside.requests).to.deep.equal([]);
      } finally {
        await inside.close();
      }
    });
  }

  it('are upstream-failed when nobody is there', async () => {
    await upstreams.close();
    for (const type of SERVER_TYPES) {
      expect(await errorOf(find(type, '1.21.4')), type).to.include({ code: 'upstream-failed' });
    }
  });

  it('follow an upstream to another host where that is allowed, and not for ever', async () => {
    const { vanilla } = upstreams.of;
    const other = await serveUpstream(() => ({ answers: {}, missing: json({ versions: [] }) }));
    try {
      vanilla.misbehave('redirect');
      vanilla.redirectTo(`${other.url}/moved.json`);
      const urls = { allowPrivate: true };
      expect(await sourcesWith({ urls }).vanilla.versions()).to.deep.equal([]);
      expect(other.requests.map(({ path }) => path)).to.deep.equal(['/moved.json']);
      vanilla.redirectTo(`${vanilla.url}/round`);
      expect((await errorOf(sourcesWith({ urls }).vanilla.versions())).detail).to.match(
        /one address to the next/,
      );
    } finally {
      await other.close();
    }
  });

  it('do not take a version file that is not the announced one', async () => {
    const forged = await serveUpstream(url => ({
      answers: {
        '/mc/game/version_manifest_v2.json': json({
          versions: [{ id: '1.21.4', type: 'release', url: `${url}/forged.json`, sha1: 'a'.repeat(40) }],
        }),
      },
      missing: json({ downloads: { server: { url: `${url}/evil.jar`, sha1: 'b'.repeat(40), size: 1 } } }),
    }));
    try {
      const bases = { ...upstreams.bases, mojang: forged.url };
      expect((await errorOf(find('vanilla', '1.21.4', { bases }))).detail).to.match(/else than it announced/);
    } finally {
      await forged.close();
    }
  });
});

async function errorOf(work: Promise<unknown>): Promise<AppError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof AppError) return error;
  throw new Error('it did not fail as it should', { cause: error });
}
