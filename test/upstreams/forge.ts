import { createHash } from 'node:crypto';
import { jar, json, serveUpstream, type Answer, type LocalUpstream } from './serve.js';

const PROMOS = {
  '1.7.2-latest': '10.12.2.1161',
  '1.7.10-recommended': '10.13.4.1614',
  '1.7.10-latest': '10.13.4.1614',
  '1.7.10_pre4-latest': '10.12.2.1149',
  '1.20.1-latest': '47.4.10',
  '1.20.1-recommended': '47.4.0',
  '1.21.4-recommended': '54.1.0',
  '26.1.2-latest': '63.0.4',
  '1.1-latest': '1.3.4.29',
};
/** The builds by their long names, of which old ones differ; that of 1.1 has no installer. */
const INSTALLERS = [
  '1.7.2-10.12.2.1161-mc172',
  '1.7.10-10.13.4.1614-1.7.10',
  '1.20.1-47.4.10',
  '1.20.1-47.4.0',
  '1.21.4-54.1.0',
  '26.1.2-63.0.4',
];

/** Forge promotions, installers and sha1 sidecars [C], §10 of the upstream facts; both of its hosts in one. Every installer is this jar. */
export function serveForge(installerJar: Buffer): Promise<LocalUpstream> {
  const sha1 = createHash('sha1').update(installerJar).digest('hex');
  return serveUpstream(() => ({
    answers: {
      '/net/minecraftforge/forge/promotions_slim.json': json({
        homepage: 'https://files.minecraftforge.net/',
        promos: PROMOS,
      }),
      ...Object.fromEntries(
        INSTALLERS.flatMap((long): [string, Answer][] => {
          const path = `/net/minecraftforge/forge/${long}/forge-${long}-installer.jar`;
          return [
            [path, jar(installerJar)],
            [`${path}.sha1`, { type: 'text/plain', body: sha1 }],
          ];
        }),
      ),
    },
    missing: { status: 404, type: 'text/html', body: '<h1>404 Not Found</h1>' },
  }));
}
