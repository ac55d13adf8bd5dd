import { jar, json, serveUpstream, type LocalUpstream } from './serve.js';

/** Version → lowest and highest Java that it can be built with; undefined on old ones. */
type Builds = Readonly<Record<string, readonly [number, number] | undefined>>;
const VERSIONS: Builds = {
  '1.20.1': [17, 20],
  '1.21.4': [21, 23],
  '1.8.8': undefined,
  '26.1.2': [25, 25],
  '1.14-pre5': [8, 12],
};
/** A class file says its Java by so much more. */
const CLASS_FILE_OFFSET = 44;
/** Files of builds that are no versions, and the newest. */
const OTHERS = ['1000', '4321', 'latest'];

/** Spigot versions JSON [shape C, host and index K] and BuildTools [C], §11 of the upstream facts. `builds` adds to its versions. */
export function serveSpigot(buildToolsJar: Buffer, builds: Builds = {}): Promise<LocalUpstream> {
  const versions = { ...VERSIONS, ...builds };
  const names = [...OTHERS, ...Object.keys(versions)].sort();
  return serveUpstream(() => ({
    answers: {
      '/versions/': { type: 'text/html', body: indexOf(names) },
      ...Object.fromEntries(
        Object.entries(versions).map(([version, javas]) => [
          `/versions/${version}.json`,
          json({
            name: '3339',
            description: 'Jenkins build 3339',
            refs: { BuildData: 'a'.repeat(40), Bukkit: 'b'.repeat(40) },
            toolsVersion: 138,
            ...(javas && { javaVersions: javas.map(major => major + CLASS_FILE_OFFSET) }),
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
