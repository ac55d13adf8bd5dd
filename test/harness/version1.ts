import pino from 'pino';
import type { Artifact } from '#proto/gen/agent.js';
import { createCalls, type Calls } from '#src/agents/calls.js';
import { createChannelPool } from '#src/agents/channelPool.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver } from '../contract/agentDriver.js';
import { FAKE_START } from '../contract/fakeContractAgent.js';
import {
  startFakeVersion1Agent,
  type FakeVersion1Agent,
  type FakeVersion1Options,
} from '../fakeAgent/version1.js';
import { jarArtifact, provisionWork } from './provisionWork.js';

const STOP_MS = 200;
export const SETTINGS = { port: 25570, maxPlayers: 7, eulaAccepted: true };

/** A fake agent of version 1, and a gateway to it. */
export interface Version1Setting {
  fake: FakeVersion1Agent;
  gateway: AgentGateway;
  driver: AgentDriver;
  /** The wire itself, without what the gateway makes of it. */
  wire(): Calls;
  /** Done first when the setting is closed. */
  beforeEnd(release: () => void | Promise<void>): void;
  close(): Promise<void>;
}

/** `patienceMs`: how long the agent may stay away in the middle of a step. */
export function silentGateway(settings: { patienceMs?: number } = {}): AgentGateway {
  return createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 5_000, ...settings });
}

export function provisionOf(serverType: string, known: Partial<Artifact> = {}) {
  return { ...provisionWork(jarArtifact(known), SETTINGS), serverType };
}

export async function startVersion1({
  patienceMs,
  ...options
}: FakeVersion1Options & { patienceMs?: number } = {}): Promise<Version1Setting> {
  const fake = await startFakeVersion1Agent({ stopMs: STOP_MS, ...options });
  const gateway = silentGateway(patienceMs === undefined ? {} : { patienceMs });
  const releases: (() => void | Promise<void>)[] = [];
  const agent = {
    get address() {
      return fake.address;
    },
    provision: () => provisionOf('paper'),
    start: () => ({ ...FAKE_START, settings: SETTINGS, serverType: 'paper' }),
    crash: ({ serverId }: { serverId: string }) => fake.crash(serverId),
    freeze: () => undefined,
    thaw: () => undefined,
    restart: () => fake.restart(),
    stop: () => fake.stop(),
  };
  return {
    fake,
    gateway,
    driver: new AgentDriver(agent, gateway),
    wire() {
      const pool = createChannelPool({ logger: pino({ level: 'silent' }), maxChannels: 10 });
      const calls = createCalls({ pool, defaultDeadlineMs: 5_000 });
      releases.push(() => {
        calls.abortAll();
        pool.close();
      });
      return calls;
    },
    beforeEnd: release => void releases.push(release),
    async close() {
      for (const release of releases) await release();
      await gateway.close();
      await fake.stop();
    },
  };
}
