import { createHash } from 'node:crypto';
import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

interface ServerFile {
  url: string;
  sha1: string;
  size: number;
}

export interface Version {
  id: string;
  type: 'release' | 'snapshot' | 'old_beta' | 'old_alpha';
  /** Absent: so old that it says none. */
  java?: number;
  /** Absent: the one that is served here. Null: so old that there is none. */
  server?: ServerFile | null;
}

const VERSIONS: readonly Version[] = [
  { id: '26.2-snapshot-3', type: 'snapshot', java: 25 },
  { id: '26.1.2', type: 'release', java: 25 },
  { id: '1.21.4', type: 'release', java: 21 },
  { id: '24w14a', type: 'snapshot', java: 21 },
  { id: '1.14.2 Pre-Release 4', type: 'snapshot', java: 8 },
  { id: '1.7.10', type: 'release' },
  { id: '1.0', type: 'release', server: null },
  { id: 'b1.8', type: 'old_beta', server: null },
];

/** Mojang version manifest v2 [C], version JSON [C], §6 of the upstream facts. Every version of its own has this jar. */
export function serveMojang(serverJar: Buffer, further: readonly Version[] = []): Promise<LocalUpstream> {
  return serveUpstream(url => {
    const sha1 = sha1Of(serverJar);
    const serverPath = `/v1/objects/${sha1}/server.jar`;
    const files = [...VERSIONS, ...further].map(version => {
      const { server = { url: url + serverPath, sha1, size: serverJar.length } } = version;
      const file = JSON.stringify({
        id: version.id,
        type: version.type,
        releaseTime: '2026-06-17T09:55:00+00:00',
        downloads: server ? { server } : {},
        ...(version.java !== undefined && {
          javaVersion: { component: 'java-runtime-delta', majorVersion: version.java },
        }),
      });
      return {
        version,
        file,
        path: `/v1/packages/${sha1Of(file)}/${encodeURIComponent(version.id)}.json`,
        sha1: sha1Of(file),
      };
    });
    const manifest = {
      latest: { release: '26.1.2', snapshot: '26.2-snapshot-3' },
      versions: files.map(({ version: { id, type }, path, sha1: fileSha1 }) => ({
        id,
        type,
        url: url + path,
        time: '2026-06-17T10:00:00+00:00',
        releaseTime: '2026-06-17T09:55:00+00:00',
        sha1: fileSha1,
        complianceLevel: 1,
      })),
    };
    return {
      answers: {
        '/mc/game/version_manifest_v2.json': json(manifest),
        ...Object.fromEntries(files.map(({ path, file }) => [path, { body: file }])),
        [serverPath]: jar(serverJar),
      },
      missing: { status: 404, type: 'text/html', body: '<h1>Not Found</h1>' },
    };
  });
}

function sha1Of(content: string | Buffer): string {
  return createHash('sha1').update(content).digest('hex');
}
