import { once } from 'node:events';
import { createServer } from 'node:http';

/** One build as `GET /v3/assets/latest/{feature}/hotspot` lists it. */
export interface AdoptiumBuild {
  major: number;
  imageType: 'jre' | 'jdk';
  architecture: string;
  os: string;
  link: string;
  size: number;
  /** Null where Adoptium has none. */
  checksum: string | null;
}

export interface AdoptiumServer {
  url: string;
  /** Every URL that was asked for: path and query. */
  requests: readonly string[];
  /** From now on every answer is this; undefined ends that. */
  misbehave(answer: { status: number; body: string } | undefined): void;
  close(): Promise<void>;
}

const OSES = ['linux', 'windows', 'mac', 'aix', 'solaris', 'alpine-linux'];
const ARCHITECTURES = ['x64', 'x86', 'ppc64', 'ppc64le', 's390x', 'aarch64', 'arm', 'sparcv9', 'riscv64'];
const IMAGE_TYPES = ['jdk', 'jre', 'testimage', 'debugimage', 'staticlibs', 'sources', 'sbom', 'jmods'];

/**
 * Adoptium's API v3 as far as we ask it: upstreams.md §12 [S]. A value that is none of its words is 400, no match is 200
 * with an empty list; parameters that this route does not have are ignored.
 */
export async function serveAdoptium(builds: readonly AdoptiumBuild[]): Promise<AdoptiumServer> {
  const requests: string[] = [];
  let fault: { status: number; body: string } | undefined;
  const server = createServer((request, response) => {
    requests.push(request.url ?? '');
    const { status, body } = fault ?? answer(builds, new URL(request.url ?? '/', 'http://adoptium'));
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server got no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    requests,
    misbehave: given => (fault = given),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(builds: readonly AdoptiumBuild[], { pathname, searchParams }: URL) {
  const feature = /^\/v3\/assets\/latest\/(\d+)\/hotspot$/.exec(pathname)?.[1];
  if (feature === undefined) return { status: 404, body: '' };
  const { os, architecture, image_type, vendor } = Object.fromEntries(searchParams);
  const known =
    OSES.includes(os ?? 'linux') &&
    ARCHITECTURES.includes(architecture ?? 'x64') &&
    IMAGE_TYPES.includes(image_type ?? 'jdk') &&
    (vendor ?? 'eclipse') === 'eclipse';
  if (!known) return { status: 400, body: '{"errorMessage":"Unknown value"}' };
  const matching = builds.filter(
    build =>
      build.major === Number(feature) &&
      (os ?? build.os) === build.os &&
      (architecture ?? build.architecture) === build.architecture &&
      (image_type ?? build.imageType) === build.imageType,
  );
  return { status: 200, body: JSON.stringify(matching.map(assetOf)) };
}

function assetOf({ major, imageType, architecture, os, link, size, checksum }: AdoptiumBuild) {
  const version = `${major}.0.8+9`;
  return {
    binary: {
      os,
      architecture,
      image_type: imageType,
      c_lib: os === 'alpine-linux' ? 'musl' : 'glibc',
      jvm_impl: 'hotspot',
      heap_size: 'normal',
      project: 'jdk',
      download_count: 1,
      updated_at: '2026-07-20T10:00:00Z',
      scm_ref: null,
      package: {
        name: `OpenJDK${major}U-${imageType}_${architecture}_${os}_hotspot_${major}.0.8_9.tar.gz`,
        link,
        size,
        checksum,
        checksum_link: `${link}.sha256.txt`,
        signature_link: `${link}.sig`,
        metadata_link: `${link}.json`,
        download_count: 1,
      },
      installer: null,
    },
    release_name: `jdk-${version}`,
    release_link: `https://github.com/adoptium/temurin${major}-binaries/releases`,
    vendor: 'eclipse',
    version: {
      major,
      minor: 0,
      security: 8,
      patch: null,
      build: 9,
      semver: version,
      openjdk_version: `${version}-LTS`,
    },
  };
}
