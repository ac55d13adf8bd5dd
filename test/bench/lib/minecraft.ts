import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '#processes/dev/ports.js';
import { serveJar } from '#test/harness/jarServer.js';
import { requireJdk } from '#test/harness/java.js';
import { buildMinecraftJar, minecraftJavaMajor } from '#test/harness/minecraftJar.js';
import { cheapJvmFlags } from '#test/harness/minecraftServer.js';
import { waitFor } from '#test/harness/waitFor.js';
import { textOf } from './apiClient.js';
import type { Installation } from './installation.js';
import { compiled, startProgram, type Program } from './processes.js';

export interface RealAgent {
  readonly program: Program;
  readonly workDir: string;
  readonly rowId: string;
  readonly javaHome: string;
}

/**
 * Registered over the API, and running as `npm start` runs it; by default with a JDK for Minecraft. Release the
 * installation, and it is gone.
 */
export async function startRealAgent(
  { client, folder, url }: Installation,
  home?: string,
): Promise<RealAgent> {
  const port = await freePort();
  const agentId = `bench-${port}`;
  const registered = await client.send('POST', '/api/v1/agents', {
    agent_id: agentId,
    hostname: 'localhost',
    ip_address: '127.0.0.1',
    port,
    tls_mode: 'plaintext',
  });
  const workDir = join(folder, 'agent');
  mkdirSync(workDir);
  const javaHome = home ?? (await requireJdk(minecraftJavaMajor)).home;
  const program = await startProgram({
    args: ['--enable-source-maps', compiled('agent/main')],
    env: {
      AYMC_URL: url,
      AGENT_ID: agentId,
      AGENT_TOKEN: textOf(registered.body, 'agent_token'),
      AGENT_HOST: '127.0.0.1',
      AGENT_PORT: String(port),
      AGENT_WORK_DIR: workDir,
      ALLOW_PRIVATE_URLS: '1',
      JAVA_HOME: javaHome,
    },
    cwd: workDir,
    logFile: join(folder, 'agent.log'),
    ready: /"address":"127\.0\.0\.1:\d+"/,
  });
  const rowId = textOf(registered.body, 'id');
  const status = async (): Promise<string> =>
    textOf((await client.send('GET', `/api/v1/agents/${rowId}`)).body, 'status');
  await waitFor(async () => (await status()) === 'online', {
    timeoutMs: 60_000,
    what: 'the agent to be online',
  });
  return { program, workDir, rowId, javaHome };
}

/** The flags that a bare start of the same server takes, too: `cheapJvmFlags` without the heap, which has columns. */
const JAVA_ARGS = cheapJvmFlags.filter(flag => !/^-Xm[sx]/.test(flag)).join(' ');

export interface InstalledServer {
  readonly id: string;
  readonly port: number;
  readonly folder: string;
  readonly jar: string;
}

/** A real Minecraft server, created over the API and installed by its agent. */
export async function installMinecraft(
  { client, succeeded }: Installation,
  agent: RealAgent,
): Promise<InstalledServer> {
  const jar = await buildMinecraftJar();
  const upstream = await serveJar(jar.path);
  try {
    const port = await freePort();
    const created = await client.send('POST', '/api/v1/servers', {
      name: 'Bench',
      server_type: 'vanilla',
      version: '1.21.4',
      agent_id: agent.rowId,
      port,
      memory_min: 64,
      memory_max: 256,
      java_args: JAVA_ARGS,
      accept_eula: true,
      jar_url: upstream.url,
      jar_sha256: jar.sha256,
    });
    if (created.status !== 201) throw new Error(`create: ${created.status} ${JSON.stringify(created.body)}`);
    await succeeded([textOf(created.body, 'operation_id')]);
    const id = textOf(created.body, 'id');
    const folder = join(agent.workDir, id);
    return { id, port, folder, jar: join(folder, 'server.jar') };
  } finally {
    await upstream.close();
  }
}
