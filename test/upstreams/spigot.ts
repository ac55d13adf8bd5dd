import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

/** Version → class files that it can be built with; undefined on old ones. */
const VERSIONS: Readonly<Record<string, [number, number] | undefined>> = {
  '1.20.1': [61, 64],
  '1.21.4': [65, 67],
  '1.8.8': undefined,
  '26.1.2': [69, 69],
  '1.14-pre5': [52, 56],
};
/** Files of builds that are no versions, and the newest. */
const OTHERS = ['1000', '4321', 'latest'];

/** Spigot versions JSON [shape C, host and index K] and BuildTools [C], §11 of the upstream facts. */
export function serveSpigot(buildToolsJar: Buffer): Promise<LocalUpstream> {
  const names = [...OTHERS, ...Object.keys(VERSIONS)].sort();
  return serveUpstream(() => ({
    answers: {
      '/versions/': { type: 'text/html', body: indexOf(names) },
      ...Object.fromEntries(
        Object.entries(VERSIONS).map(([version, javaVersions]) => [
          `/versions/${version}.json`,
          json({
            name: '3339',
            description: 'Jenkins build 3339',
            refs: { BuildData: 'a'.repeat(40), Bukkit: 'b'.repeat(40) },
            toolsVersion: 138,
            ...(javaVersions && { javaVersions }),
          }),
        ]),
      ),
      '/jenkins/job/BuildTools/lastSuccessfulBuild/artifact/target/BuildTools.jar': jar(buildToolsJar),
    },
    missing: { status: 404, type: 'text/html', body: '<h1>404 Not Found</h1>' },
  }));
}

function indexOf(names: readonly string[]): string {
  const lines = names.map(name => `<a href="${name}.json">${name}.json</a>      17-Jun-2026 10:00    312`);
  return `<html><head><title>Index of /versions/</title></head><body><pre><a href="../">../</a>\n${lines.join('\n')}\n</pre></body></html>`;
}
