import { createHash } from 'node:crypto';
import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

/** Version → its newest build that succeeded; null where none has. In no order. */
const LATEST: Readonly<Record<string, string | null>> = {
  '1.14.1': '500',
  '26.1.2': '2701',
  '1.21.4': '2416',
  '1.20.6': null,
};

/** Purpur v2 [S], §8 of the upstream facts. Every build is this jar. Base is `/v2`. */
export async function servePurpur(serverJar: Buffer): Promise<LocalUpstream> {
  const md5 = createHash('md5').update(serverJar).digest('hex');
  const upstream = await serveUpstream(() => {
    const built = Object.entries(LATEST).flatMap(([version, build]) =>
      build === null ? [] : [{ version, build }],
    );
    return {
      answers: {
        '/v2/purpur': json({ project: 'purpur', metadata: {}, versions: Object.keys(LATEST) }),
        ...Object.fromEntries(
          built.map(({ version, build }) => [
            `/v2/purpur/${version}/latest`,
            json({
              project: 'purpur',
              version,
              build,
              result: 'SUCCESS',
              timestamp: 1_700_000_000_000,
              duration: 98_000,
              commits: [],
              metadata: {},
              md5,
            }),
          ]),
        ),
        ...Object.fromEntries(
          built.map(({ version, build }) => [`/v2/purpur/${version}/${build}/download`, jar(serverJar)]),
        ),
      },
      missing: json({ error: 'version not found' }, 404),
    };
  });
  return { ...upstream, url: `${upstream.url}/v2` };
}
