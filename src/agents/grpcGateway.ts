import type { Logger } from 'pino';
import { AgentServiceService, type WorkKey } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import { createCalls } from './calls.js';
import { createChannelPool } from './channelPool.js';
import { createAgentFiles } from './files.js';
import type { AgentGateway, AgentAddress, CallOptions } from './gateway.js';

export interface GrpcGatewayDeps {
  logger: Logger;
  /** For calls that bring none; the setting AGENT_GRPC_TIMEOUT. */
  defaultDeadlineMs: number;
  /** How many agents may be connected at once (default 4096); one more closes the least recently used channel. */
  maxChannels?: number;
  /** Told to agents in Hello. */
  version?: string;
}

/**
 * Agents over gRPC. Opens nothing until the first call. Release with `close()`, which ends calls in flight as
 * `shutting-down`.
 *
 * This speaks to agents that announce the capability `work`; to older ones the calls of version 2 reject with
 * `agent-unsupported`. Their ways belong into a sibling of this file, chosen here by what Hello answered.
 */
export function createGrpcGateway({
  logger,
  defaultDeadlineMs,
  maxChannels = 4096,
  version = '',
}: GrpcGatewayDeps): AgentGateway {
  const pool = createChannelPool({ logger, maxChannels });
  const calls = createCalls({ pool, defaultDeadlineMs });
  const rpc = AgentServiceService;
  const hello = (agent: AgentAddress, options: CallOptions = {}) =>
    calls.unary({ agent, method: rpc.hello, request: { controlPlaneVersion: version }, options });
  const { forget: forgetFiles, ...files } = createAgentFiles(calls, hello);

  return {
    hello,
    async ping(agent, options = {}) {
      const startedAt = performance.now();
      await calls.unary({ agent, method: rpc.ping, request: {}, options });
      return { latencyMs: performance.now() - startedAt };
    },
    health: (agent, options = {}) => calls.unary({ agent, method: rpc.healthCheck, request: {}, options }),
    info: (agent, options = {}) => calls.unary({ agent, method: rpc.getAgentInfo, request: {}, options }),
    metrics: (agent, options = {}) =>
      calls.unary({ agent, method: rpc.getSystemMetrics, request: {}, options }),
    inspectServers: (agent, options = {}) =>
      calls.unary({ agent, method: rpc.inspectServers, request: {}, options }),

    submitWork: (agent, request, options = {}) =>
      calls.unary({
        agent,
        method: rpc.submitWork,
        request,
        options,
        metadata: { ...keyMetadata(request.key), epoch: String(request.epoch) },
      }),
    watchWork: (agent, key, options = {}) =>
      calls.stream({ agent, method: rpc.watchWork, request: key, options, metadata: keyMetadata(key) }),
    cancelWork: (agent, key, options = {}) =>
      calls.unary({ agent, method: rpc.cancelWork, request: key, options, metadata: keyMetadata(key) }),

    async sendCommand(agent, { serverId, command, key }, options = {}) {
      const request = { serverId, command };
      const metadata = keyMetadata(key);
      const answer = await calls.unary({ agent, method: rpc.sendCommand, request, options, metadata });
      // Version 1 answers OK to what it refuses.
      if (!answer.success) throw new AppError('agent-refused', { detail: answer.message });
      return { output: answer.output === '' ? null : answer.output };
    },

    streamEvents: (agent, request, options = {}) =>
      calls.stream({ agent, method: rpc.streamEvents, request, options, endless: true }),

    files,

    openCall: (spec, listener) => calls.open(spec, listener),

    forget(agentId) {
      pool.forget(agentId);
      forgetFiles(agentId);
    },
    close() {
      calls.abortAll();
      pool.close();
      return Promise.resolve();
    },
  };
}

function keyMetadata(key: WorkKey | undefined): Record<string, string> {
  return key === undefined ? {} : { 'op-id': key.opId, step: key.step };
}
