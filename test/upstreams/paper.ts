import { createHash } from 'node:crypto';
import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

interface Version {
  id: string;
  java: number;
  /** Number → channel, in the order of the answer. */
  builds: [number, 'ALPHA' | 'BETA' | 'STABLE'][];
}

const VERSIONS: readonly Version[] = [
  { id: '1.21.11-rc3', java: 21, builds: [[1, 'ALPHA']] },
  {
    id: '26.1.2',
    java: 25,
    builds: [
      [12, 'ALPHA'],
      [11, 'BETA'],
    ],
  },
  {
    id: '1.21.4',
    java: 21,
    builds: [
      [232, 'BETA'],
      [230, 'STABLE'],
      [231, 'STABLE'],
    ],
  },
  { id: '1.9.4', java: 8, builds: [] },
];

/** Paper Fill v3 [S; shapes C], §7 of the upstream facts. Every build is this jar. Base is `/v3`. */
export async function servePaper(serverJar: Buffer): Promise<LocalUpstream> {
  const upstream = await serveUpstream(url => {
    const sha256 = createHash('sha256').update(serverJar).digest('hex');
    const versions = VERSIONS.map(({ id, java, builds }) => ({
      version: {
        id,
        support: { status: 'SUPPORTED' },
        java: { version: { minimum: java }, flags: { recommended: ['-XX:+UseG1GC'] } },
      },
      builds: builds.map(([number]) => number),
    }));
    const fileOf = (id: string, build: number) => `/v1/objects/${sha256}/paper-${id}-${build}.jar`;
    const buildsOf = ({ id, builds }: Version) =>
      builds.map(([number, channel]) => ({
        id: number,
        time: '2025-09-06T21:50:11.982Z',
        channel,
        commits: [{ sha: 'a'.repeat(40), time: '2025-09-06T21:00:00Z', message: 'Fix it\n\n' }],
        downloads: {
          'server:default': {
            name: `paper-${id}-${number}.jar`,
            checksums: { sha256 },
            size: serverJar.length,
            url: url + fileOf(id, number),
          },
        },
      }));
    const base = '/v3/projects/paper/versions';
    return {
      answers: {
        [base]: json({ versions }),
        ...Object.fromEntries(versions.map(entry => [`${base}/${entry.version.id}`, json(entry)])),
        ...Object.fromEntries(VERSIONS.map(entry => [`${base}/${entry.id}/builds`, json(buildsOf(entry))])),
        ...Object.fromEntries(
          VERSIONS.flatMap(({ id, builds }) =>
            builds.map(([number]) => [fileOf(id, number), jar(serverJar)]),
          ),
        ),
      },
      missing: json({ ok: false, error: 'version_not_found' }, 404),
    };
  });
  return { ...upstream, url: `${upstream.url}/v3` };
}
