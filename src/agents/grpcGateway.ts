import type { Logger } from 'pino';
import { AgentServiceService, type WorkKey } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { createCalls } from './calls.js';
import { createChannelPool } from './channelPool.js';
import { createAgentFiles } from './files.js';
import type { AgentGateway } from './gateway.js';
import { createGatewayOfVersion1 } from './version1/gateway.js';
import { inTurn, Turns } from './version1/turns.js';
import { Versions } from './versions.js';

export interface GrpcGatewayDeps {
  logger: Logger;
  /** For calls that bring none; the setting AGENT_GRPC_TIMEOUT. */
  defaultDeadlineMs: number;
  /** How many agents may be connected at once (default 4096); one more closes the least recently used channel. */
  maxChannels?: number;
  /** How long an agent of version 1 may stay away in the middle of a step (default five minutes). */
  patienceMs?: number;
  /** Told to agents in Hello. */
  version?: string;
}

/**
 * Agents over gRPC. Opens nothing until the first call. Release with `close()`, which ends calls in flight as
 * `shutting-down`.
 *
 * This speaks to agents of version 2. What those of version 1 don't know is done in their place by version1/gateway.ts,
 * chosen by what Hello answered.
 */
export function createGrpcGateway({
  logger,
  defaultDeadlineMs,
  maxChannels = 4096,
  patienceMs,
  version = '',
}: GrpcGatewayDeps): AgentGateway {
  const pool = createChannelPool({ logger, maxChannels });
  const rawCalls = createCalls({ pool, defaultDeadlineMs });
  const turns = new Turns();
  // Only agents of version 1 ever keep anybody waiting.
  const calls = inTurn(rawCalls, turns, defaultDeadlineMs);
  const rpc = AgentServiceService;
  const versions = new Versions((agent, options) =>
    calls.unary({ agent, method: rpc.hello, request: { controlPlaneVersion: version }, options }),
  );
  const version1 = createGatewayOfVersion1({ calls: rawCalls, turns, defaultDeadlineMs, patienceMs });
  const { forget: forgetFiles, ...files } = createAgentFiles(calls, versions);

  return {
    hello: async (agent, options = {}) =>
      (await versions.hello(agent, options)) ?? version1.hello(agent, options),
    isOfVersion1: async (agent, options = {}) => (await versions.hello(agent, options)) === undefined,
    async ping(agent, options = {}) {
      // It can't answer while it stops a server for us; the keepalive of that call watches over it.
      if (turns.isBlocked(agent.id)) return { latencyMs: 0 };
      const startedAt = performance.now();
      await calls.unary({ agent, method: rpc.ping, request: {}, options });
      return { latencyMs: performance.now() - startedAt };
    },
    health: (agent, options = {}) => calls.unary({ agent, method: rpc.healthCheck, request: {}, options }),
    info: (agent, options = {}) => calls.unary({ agent, method: rpc.getAgentInfo, request: {}, options }),
    metrics: (agent, options = {}) =>
      calls.unary({ agent, method: rpc.getSystemMetrics, request: {}, options }),
    inspectServers: (agent, options = {}) =>
      versions.either(agent, options, {
        modern: () => calls.unary({ agent, method: rpc.inspectServers, request: {}, options }),
        old: () => version1.inspectServers(agent, options),
      }),

    submitWork: (agent, request, options = {}) =>
      versions.either(agent, options, {
        modern: () =>
          calls.unary({
            agent,
            method: rpc.submitWork,
            request,
            options,
            metadata: { ...keyMetadata(request.key), epoch: String(request.epoch) },
          }),
        old: () => version1.submitWork(agent, request, options),
      }),
    watchWork: (agent, key, options = {}) =>
      versions.eitherStream(agent, options, {
        modern: () =>
          calls.stream({ agent, method: rpc.watchWork, request: key, options, metadata: keyMetadata(key) }),
        old: () => version1.watchWork(agent, key, options),
      }),
    cancelWork: (agent, key, options = {}) =>
      versions.either(agent, options, {
        modern: () =>
          calls.unary({ agent, method: rpc.cancelWork, request: key, options, metadata: keyMetadata(key) }),
        old: () => version1.cancelWork(agent, key, options),
      }),

    async sendCommand(agent, { serverId, command, key }, options = {}) {
      const request = { serverId, command };
      const metadata = keyMetadata(key);
      const answer = await calls.unary({ agent, method: rpc.sendCommand, request, options, metadata });
      // Version 1 answers OK to what it refuses.
      if (!answer.success) {
        const isDown = /not (found|running|exist)|closed|broken pipe|finished/i.test(answer.message);
        throw new AppError(isDown ? 'server-not-running' : 'agent-refused', { detail: answer.message });
      }
      return { output: answer.output === '' ? null : answer.output };
    },

    streamEvents: (agent, request, options = {}) =>
      versions.eitherStream(agent, options, {
        modern: () => calls.stream({ agent, method: rpc.streamEvents, request, options, endless: true }),
        old: () => version1.streamEvents(agent, request, options),
      }),

    files,

    openCall: (spec, listener) => calls.open(spec, listener),

    forget(agentId) {
      pool.forget(agentId);
      versions.forget(agentId);
      forgetFiles(agentId);
    },
    close() {
      version1.close();
      rawCalls.abortAll();
      pool.close();
      return Promise.resolve();
    },
  };
}

function keyMetadata(key: WorkKey | undefined): Record<string, string> {
  return key === undefined ? {} : { 'op-id': key.opId, step: key.step };
}
