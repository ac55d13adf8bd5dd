import { isIPv4, isIPv6 } from 'node:net';
import { Client, type ClientOptions } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError } from '#src/domain/errors.js';
import { dial, SERVER_NAME } from './dial.js';
import type { AgentAddress } from './gateway.js';

const DIAL_TIMEOUT_MS = 5_000;

/** What agents take and send, both versions. */
export const MESSAGE_BYTES_MAX = 10 * 1024 * 1024;

const CHANNEL_OPTIONS: ClientOptions = {
  // One layer retries, and that is Temporal.
  'grpc.enable_retries': 0,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  // A stream whose peer vanished without a word ends within 15 s. Quiet channels stay quiet.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 0,
  // An agent that came back is found at once.
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.client_idle_timeout_ms': 5 * 60_000,
  // In the process-wide pool a connection that we no longer trust lives on as long as another gateway uses it.
  'grpc.use_local_subchannel_pool': 1,
  // Agents are dialled directly, whatever HTTP_PROXY says.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_channelz': 0,
  'grpc.ssl_target_name_override': SERVER_NAME,
};

/** The connection to one agent. `client` is there once `opening` has settled. */
export interface Channel {
  readonly agentId: string;
  readonly opening: Promise<Client>;
  client: Client | undefined;
}

interface PooledChannel extends Channel {
  readonly settings: string;
  readonly dialling: AbortController;
}

export interface ChannelPool {
  /** The agent's channel, opened when there is none or when its settings have changed. */
  acquire(agent: AgentAddress): Channel;
  /** The next call dials afresh. Calls in flight keep the old connection until they end. */
  discard(channel: Channel): void;
  forget(agentId: string): void;
  close(): void;
}

export interface ChannelPoolDeps {
  logger: Logger;
  /** Least recently used channels beyond this many are closed; calls on them run to their end. */
  maxChannels: number;
}

export function createChannelPool({ logger, maxChannels }: ChannelPoolDeps): ChannelPool {
  /** Least recently used first. Entries go by discard, forget, eviction or a failed dial. */
  const channels = new Map<string, PooledChannel>();

  function open(agent: AgentAddress): PooledChannel {
    const dialling = new AbortController();
    const channel: PooledChannel = {
      agentId: agent.id,
      settings: settingsOf(agent),
      dialling,
      client: undefined,
      opening: connect(agent, dialling),
    };
    channel.opening.then(
      client => {
        if (dialling.signal.aborted) client.close();
        else channel.client = client;
      },
      (error: unknown) => {
        logger.debug({ agent_id: agent.id, host: agent.host, port: agent.port, err: error }, 'dial failed');
        discard(channel);
      },
    );
    return channel;
  }

  function discard(channel: Channel): void {
    const pooled = channels.get(channel.agentId);
    if (pooled === channel) {
      channels.delete(channel.agentId);
      retire(pooled);
    }
  }

  function evictBeyondBound(): void {
    for (const channel of channels.values()) {
      if (channels.size <= maxChannels) return;
      discard(channel);
    }
  }

  function forget(agentId: string): void {
    const channel = channels.get(agentId);
    if (channel) discard(channel);
  }

  return {
    acquire(agent) {
      const pooled = channels.get(agent.id);
      if (pooled && pooled.settings !== settingsOf(agent)) discard(pooled);
      const channel = channels.get(agent.id) ?? open(agent);
      channels.delete(agent.id);
      channels.set(agent.id, channel);
      evictBeyondBound();
      return channel;
    },
    discard,
    forget,
    close() {
      for (const channel of channels.values()) discard(channel);
    },
  };
}

async function connect(agent: AgentAddress, dialling: AbortController): Promise<Client> {
  const tooLong = setTimeout(() => {
    dialling.abort(new AppError('agent-unreachable', { detail: 'Connecting took too long' }));
  }, DIAL_TIMEOUT_MS);
  try {
    const credentials = await dial(agent, dialling.signal);
    return new Client(targetOf(agent), credentials, CHANNEL_OPTIONS);
  } finally {
    clearTimeout(tooLong);
  }
}

/** Closing is graceful: streams in flight end by themselves, only then the socket goes. */
function retire(channel: PooledChannel): void {
  channel.dialling.abort(new AppError('agent-unreachable', { detail: 'The channel was closed' }));
  channel.client?.close();
}

function settingsOf({ host, port, tls_mode, tls_fingerprint }: AgentAddress): string {
  return JSON.stringify([host, port, tls_mode, tls_fingerprint]);
}

/** The ip schemes spare a DNS look-up. */
function targetOf({ host, port }: AgentAddress): string {
  if (isIPv4(host)) return `ipv4:${host}:${port}`;
  if (isIPv6(host)) return `ipv6:[${host}]:${port}`;
  return `dns:///${host}:${port}`;
}
