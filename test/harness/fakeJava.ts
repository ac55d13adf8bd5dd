import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * What a shell script that looks like a server needs to say. `-Dscript=…` among the JVM's arguments replaces it by
 * another one; `-Dboot=never` keeps it from becoming ready.
 */
const SERVER = `
say() { echo "[00:00:00] [Server thread/INFO]: $1"; }
boot=quick
for arg; do
  case $arg in
  -Dboot=*) boot=\${arg#*=} ;;
  -Dscript=*) . "\${arg#*=}"; exit ;;
  esac
done
say 'Starting minecraft server version 1.21.4'
[ "$boot" = never ] || say 'Done (0.123s)! For help, type "help"'
while read -r line; do
  case $line in
  stop) say 'Stopping the server'; exit 0 ;;
  crash) exit 1 ;;
  'say '*) say "[Server] \${line#say }" ;;
  env) env | sort | while read -r entry; do say "env $entry"; done ;;
  *) say "Unknown or incomplete command: $line" ;;
  esac
done
`;

export interface FakeJava {
  readonly home: string;
  readonly bin: string;
  remove(): Promise<void>;
}

/**
 * A Java home whose `java` is a shell script: starts in a millisecond and does on command what a real server does only
 * on a bad day. Found by the agent as any other (JAVA_HOME).
 */
export async function makeFakeJava(major = 21): Promise<FakeJava> {
  const home = await mkdtemp(join(tmpdir(), 'aymc-java-'));
  const bin = join(home, 'bin', 'java');
  await mkdir(join(home, 'bin'));
  await writeFile(bin, `#!/bin/sh${SERVER}`);
  await chmod(bin, 0o755);
  await writeFile(join(home, 'release'), `JAVA_VERSION="${major}.0.1"\n`);
  return { home, bin, remove: () => rm(home, { recursive: true, force: true }) };
}

/** The smallest file that is a jar: one stored entry, no main class. */
export function tinyJar(content = 'hello'): Buffer {
  const name = Buffer.from('hello.txt');
  const body = Buffer.from(content);
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt32LE(body.length, 18);
  local.writeUInt32LE(body.length, 22);
  local.writeUInt16LE(name.length, 26);
  const central = Buffer.alloc(46);
  central.writeUInt32LE(0x02014b50, 0);
  central.writeUInt32LE(body.length, 20);
  central.writeUInt32LE(body.length, 24);
  central.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length + name.length, 12);
  end.writeUInt32LE(local.length + name.length + body.length, 16);
  return Buffer.concat([local, name, body, central, name, end]);
}
