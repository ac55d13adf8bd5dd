import { startFakeVersion1Agent } from '#test/fakeAgent/version1.js';
import { jarArtifact, provisionWork } from '../harness/provisionWork.js';
import type { ContractAgent } from './agentDriver.js';
import { FAKE_START } from './fakeContractAgent.js';

/** The fake of version 1, as the contract suite wants to handle it. Its stops are short: the suite makes one a test. */
export async function startVersion1ContractAgent(): Promise<ContractAgent> {
  const fake = await startFakeVersion1Agent({ stopMs: 50, readyMs: 20 });
  return {
    get address() {
      return fake.address;
    },
    provision: () => ({
      ...provisionWork(jarArtifact({}), { port: 25565, maxPlayers: 20, eulaAccepted: true }),
      serverType: 'paper',
    }),
    start(_serverId, boot) {
      fake.setReadyMs(boot === 'never' ? Infinity : 20);
      return { ...FAKE_START, serverType: 'paper' };
    },
    crash: ({ serverId }) => fake.crash(serverId),
    freeze: () => undefined,
    thaw: () => undefined,
    restart: () => fake.restart(),
    stop: () => fake.stop(),
  };
}
