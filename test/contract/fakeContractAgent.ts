import type { StartWork } from '#proto/gen/agent.js';
import { hang, neverReady, onStart, startFakeAgent } from '#test/fakeAgent.js';
import type { ContractAgent } from './agentDriver.js';
import { jarArtifact, provisionWork } from '../harness/provisionWork.js';

export const FAKE_START: StartWork = {
  settings: undefined,
  memoryMinMb: 512,
  memoryMaxMb: 512,
  javaArgs: [],
  jarFile: 'server.jar',
  javaMajor: 21,
  javaPinned: false,
  readyTimeoutSeconds: 60,
  serverType: 'vanilla',
  leased: false,
};

/** The scripted agent, as the contract suite wants to handle it. */
export async function startFakeContractAgent(): Promise<ContractAgent> {
  const fake = await startFakeAgent({
    tls: true,
    token: 'secret',
    requireProvision: true,
    script: [onStart({ thenReadyAfterMs: 20 })],
  });
  return {
    get address() {
      return fake.address;
    },
    provision: () =>
      provisionWork(jarArtifact({ fileName: FAKE_START.jarFile }), {
        port: 25565,
        maxPlayers: 20,
        eulaAccepted: true,
      }),
    start(serverId, boot) {
      if (boot === 'never') fake.script(neverReady(serverId));
      return FAKE_START;
    },
    crash: ({ serverId }) => fake.crash(serverId, 134),
    freeze: () => fake.script(hang()),
    thaw: () => fake.clearScript('hang'),
    restart: () => fake.restart(),
    stop: () => fake.stop(),
  };
}
