import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Artifact, ServerSettings, StartWork } from '#proto/gen/agent.js';
import type { AgentAddress } from '#src/agents/gateway.js';
import type { ContractAgent } from '#test/contract/agentDriver.js';
import { type AgentProcess, startAgentProcess } from './agentProcess.js';
import { makeFakeJava, tinyJar } from './fakeJava.js';
import { type JarServer, serveJar } from './jarServer.js';
import { jarArtifact, provisionWork } from './provisionWork.js';

export interface ShellAgent extends ContractAgent {
  readonly process: AgentProcess;
  readonly upstream: JarServer;
  readonly artifact: Artifact;
  readonly settings: ServerSettings;
  /** A start of a server that is this shell script; `say` prints a line with a log prefix. */
  startScript(script: string, overrides?: Partial<StartWork>): Promise<StartWork>;
}

/** A real agent whose Java is a shell script, with an upstream that serves a jar. */
export async function makeShellAgent(jar = tinyJar(), env: NodeJS.ProcessEnv = {}): Promise<ShellAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-jar-'));
  await writeFile(join(folder, 'server.jar'), jar);
  const upstream = await serveJar(join(folder, 'server.jar'), { slowBytesPerSecond: 200_000 });
  const java = await makeFakeJava();
  const agent = await startAgentProcess({ javaHome: java.home, env });
  const settings = { port: 25565, maxPlayers: 20, eulaAccepted: true };
  const artifact = jarArtifact({
    url: upstream.url,
    sha256: createHash('sha256').update(jar).digest('hex'),
    sizeBytes: jar.length,
  });
  const start = (javaArgs: string[], overrides: Partial<StartWork> = {}): StartWork => ({
    settings,
    memoryMinMb: 64,
    memoryMaxMb: 64,
    javaArgs,
    jarFile: 'server.jar',
    javaMajor: 21,
    javaPinned: true,
    readyTimeoutSeconds: 60,
    serverType: 'vanilla',
    leased: false,
    ...overrides,
  });
  return {
    process: agent,
    upstream,
    artifact,
    settings,
    address: addressOf(agent),
    provision: () => provisionWork(artifact, settings),
    start: (_serverId, boot) => start([`-Dboot=${boot}`]),
    async startScript(script, overrides) {
      const path = join(folder, `${randomUUID()}.sh`);
      await writeFile(path, script);
      return start([`-Dscript=${path}`], overrides);
    },
    crash: ({ pid }) => void process.kill(pid, 'SIGKILL'),
    freeze: () => void agent.kill('SIGSTOP'),
    thaw: () => void agent.kill('SIGCONT'),
    restart: () => agent.restart(),
    async stop() {
      await agent.stop();
      await upstream.close();
      await java.remove();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function addressOf(agent: AgentProcess): AgentAddress {
  return {
    id: randomUUID(),
    host: agent.host,
    port: agent.port,
    tls_mode: 'plaintext',
    tls_fingerprint: null,
    token: agent.token,
  };
}

/** Pids of what runs as this server, asked of the kernel and of nobody else. */
export async function copiesOf(agent: AgentProcess, serverId: string): Promise<number[]> {
  const folder = join(agent.workDir, serverId);
  const found = await Promise.all((await readdir('/proc')).map(name => copyIn(name, folder)));
  return found.filter(pid => pid !== undefined);
}

/** A JVM leads its process group, and what it starts is in that group; its guard writes to another file. */
async function copyIn(name: string, folder: string): Promise<number | undefined> {
  if (!/^\d+$/.test(name)) return undefined;
  try {
    const cwd = await readlink(`/proc/${name}/cwd`);
    const stat = await readFile(`/proc/${name}/stat`, 'utf8');
    const group = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
    const output = await readlink(`/proc/${name}/fd/1`);
    return cwd === folder && group === Number(name) && output.endsWith('/console.log') ? group : undefined;
  } catch {
    return undefined; // ended, or has no such descriptor
  }
}
