import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentAddress } from '#src/agents/gateway.js';
import { describeAgentContract } from '#test/contract/agentContract.js';
import type { ContractAgent } from '#test/contract/agentDriver.js';
import { startAgentProcess } from '#test/harness/agentProcess.js';
import { makeFakeJava, tinyJar } from '#test/harness/fakeJava.js';
import { serveJar } from '#test/harness/jarServer.js';

describeAgentContract('reference agent', makeContractAgent);

async function makeContractAgent(): Promise<ContractAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-jar-'));
  const jar = tinyJar();
  await writeFile(join(folder, 'server.jar'), jar);
  const jars = await serveJar(join(folder, 'server.jar'));
  const java = await makeFakeJava();
  const agent = await startAgentProcess({ javaHome: java.home });
  const address: AgentAddress = {
    id: randomUUID(),
    host: agent.host,
    port: agent.port,
    tls_mode: 'plaintext',
    tls_fingerprint: null,
    token: agent.token,
  };
  const settings = { port: 25565, maxPlayers: 20, eulaAccepted: true };
  return {
    address,
    provision: () => ({
      artifact: {
        url: jars.url,
        sha256: createHash('sha256').update(jar).digest('hex'),
        sha1: '',
        sizeBytes: jar.length,
        fileName: 'server.jar',
      },
      settings,
    }),
    start: (_serverId, boot) => ({
      settings,
      memoryMinMb: 64,
      memoryMaxMb: 64,
      javaArgs: [`-Dboot=${boot}`],
      jarFile: 'server.jar',
      javaMajor: 21,
      javaPinned: true,
      readyTimeoutSeconds: 60,
    }),
    crash: ({ pid }) => void process.kill(pid, 'SIGKILL'),
    freeze: () => void process.kill(agent.pid, 'SIGSTOP'),
    thaw: () => void process.kill(agent.pid, 'SIGCONT'),
    restart: () => agent.restart(),
    async stop() {
      await agent.stop();
      await jars.close();
      await java.remove();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
