import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

const GAMES = [
  { version: '26.2-snapshot-3', stable: false },
  { version: '26.1.2', stable: true },
  { version: '1.21.4', stable: true },
];
const LOADERS = [
  {
    separator: '.',
    build: 0,
    maven: 'net.fabricmc:fabric-loader:0.18.0-beta',
    version: '0.18.0-beta',
    stable: false,
  },
  {
    separator: '.',
    build: 10,
    maven: 'net.fabricmc:fabric-loader:0.16.10',
    version: '0.16.10',
    stable: true,
  },
];
const INSTALLERS = ['1.1.0', '1.0.3'].map((version, at) => ({
  url: `https://maven.fabricmc.net/net/fabricmc/fabric-installer/${version}/fabric-installer-${version}.jar`,
  maven: `net.fabricmc:fabric-installer:${version}`,
  version,
  stable: at === 0,
}));

/** Fabric meta v2 [S], §9 of the upstream facts. Every launcher is this jar. Base is `/v2`. */
export async function serveFabric(launcherJar: Buffer): Promise<LocalUpstream> {
  const upstream = await serveUpstream(() => ({
    answers: {
      '/v2/versions/game': json(GAMES),
      '/v2/versions/installer': json(INSTALLERS),
      ...Object.fromEntries(
        GAMES.map(({ version }) => [
          `/v2/versions/loader/${version}`,
          json(
            LOADERS.map(loader => ({
              loader,
              intermediary: { maven: `net.fabricmc:intermediary:${version}`, version, stable: true },
              launcherMeta: { version: 1 },
            })),
          ),
        ]),
      ),
      ...Object.fromEntries(
        GAMES.map(({ version }) => [
          `/v2/versions/loader/${version}/0.16.10/1.1.0/server/jar`,
          jar(launcherJar),
        ]),
      ),
      // A version that it knows and has nothing for [K].
      '/v2/versions/loader/1.3.2': json([]),
    },
    missing: json('Unable to find version', 400),
  }));
  return { ...upstream, url: `${upstream.url}/v2` };
}
