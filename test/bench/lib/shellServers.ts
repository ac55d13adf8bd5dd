import { createHash, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '#processes/dev/ports.js';
import { makeFakeJava, tinyJar } from '#test/harness/fakeJava.js';
import { serveJar } from '#test/harness/jarServer.js';
import { textOf } from './apiClient.js';
import type { Installation } from './installation.js';
import { startRealAgent, type RealAgent } from './minecraft.js';

/** A shell script that prints as a server would. Its first line makes it ready. */
export type Script = string;

const READY = `echo '[12:00:00] [Server thread/INFO]: Done (0.1s)! For help, type "help"'`;
const MESSAGE = 'a line of a console, about as long as they are: x=-1203.5 y=64.0 z=881.2';

/** Prints nothing more. */
export const idle: Script = `${READY}\nwhile read -r line; do [ "$line" = stop ] && exit 0; done\n`;

/** A line every so often, which ends in the nanoseconds since 1970 at which it was printed. */
export const ticking = (everySeconds: number): Script =>
  `${READY}\nwhile :; do echo "[12:00:00] [Server thread/INFO]: ${MESSAGE} $(date +%s%N)"; sleep ${everySeconds}; done\n`;

/** About 100,000 lines a second, 10 MB/s. */
export const flooding: Script = `${READY}
lines=$(awk 'BEGIN { for (n = 0; n < 1000; n++) print "[12:00:00] [Server thread/INFO]: ${MESSAGE}" }')
while :; do echo "$lines"; sleep 0.009; done
`;

export interface ShellAgent extends RealAgent {
  /** Creates, installs and starts a server for each of these; answers their ids in the same order. */
  run(scripts: readonly Script[]): Promise<string[]>;
  release(): Promise<void>;
}

/** A real agent under guards and all, whose servers are shell scripts in place of JVMs. */
export async function startShellAgent(installation: Installation): Promise<ShellAgent> {
  const java = await makeFakeJava();
  const jar = tinyJar();
  const path = join(installation.folder, 'server.jar');
  await writeFile(path, jar);
  const upstream = await serveJar(path);
  const agent = await startRealAgent(installation, java.home);
  const { client, folder, succeeded } = installation;

  async function create(script: Script): Promise<{ id: string; operationId: string }> {
    const file = join(folder, `${randomUUID()}.sh`);
    await writeFile(file, script);
    const { status, body } = await client.send('POST', '/api/v1/servers', {
      name: 'Bench',
      server_type: 'vanilla',
      version: '1.21.4',
      agent_id: agent.rowId,
      port: await freePort(),
      memory_min: 64,
      memory_max: 64,
      java_args: `-Dscript=${file}`,
      accept_eula: true,
      jar_url: upstream.url,
      jar_sha256: createHash('sha256').update(jar).digest('hex'),
    });
    if (status !== 201) throw new Error(`create: ${status} ${JSON.stringify(body)}`);
    return { id: textOf(body, 'id'), operationId: textOf(body, 'operation_id') };
  }

  return {
    ...agent,
    async run(scripts) {
      const ids: string[] = [];
      for (const script of scripts) {
        const { id, operationId } = await create(script);
        await succeeded([operationId]);
        const { operation } = await client.act(id, 'start');
        await succeeded([operation.id]);
        ids.push(id);
      }
      return ids;
    },
    async release() {
      await upstream.close();
      await java.remove();
    },
  };
}
