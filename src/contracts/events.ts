/** The whole realtime protocol, for both transports. Facts are in the past, requests in the imperative. */

export type MessageType =
  | 'log_entry'
  | 'metrics'
  | 'server_status'
  | 'operation'
  | 'alert'
  | 'notification'
  | 'agent_status'
  | 'error';

export interface Message<T = unknown> {
  type: MessageType;
  channel: string;
  data: T;
  /** ISO 8601, UTC. */
  timestamp: string;
  /** Opaque; valid on every api instance for this channel; null where the channel has no past. */
  cursor: string | null;
}

export interface SubscribeRequest {
  channels: string[];
  /** Where the client stopped, by channel: the answer's backlog begins after it. */
  after?: Record<string, string>;
}

export interface SubscribeAnswer {
  subscribed: string[];
  denied: { channel: string; code: string }[];
  /** In order; live messages that follow continue it without a gap or a repeat. */
  backlog: Message[];
}

export interface CommandRequest {
  server_id: string;
  command: string;
}

export type CommandAnswer =
  { accepted: true; output?: string } | { accepted: false; error: { code: string; detail: string } };

export interface ClientToServerEvents {
  subscribe: (
    request: SubscribeRequest,
    ack: (answer: SubscribeAnswer | { error: { code: string; detail: string } }) => void,
  ) => void;
  unsubscribe: (request: { channels: string[] }, ack?: (answer: { unsubscribed: string[] }) => void) => void;
  command: (request: CommandRequest, ack?: (answer: CommandAnswer) => void) => void;
}

export interface ServerToClientEvents {
  message: (message: Message) => void;
}

const SERVER_TOPICS = ['logs', 'metrics', 'status', 'operations'] as const;
type ServerTopic = (typeof SERVER_TOPICS)[number];

/** `server:<id>:logs|metrics|status|operations`, `operation:<id>`, `user:notifications`, `agents`. */
export type Channel =
  | { kind: 'server'; server_id: string; topic: ServerTopic }
  | { kind: 'operation'; operation_id: string }
  | { kind: 'notifications' }
  | { kind: 'agents' };

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const SERVER_CHANNEL = new RegExp(`^server:(${UUID}):(\\w+)$`);
const OPERATION_CHANNEL = new RegExp(`^operation:(${UUID})$`);

function isServerTopic(topic: string | undefined): topic is ServerTopic {
  return SERVER_TOPICS.some(known => known === topic);
}

/** Null for anything that is not a channel. */
export function parseChannel(name: string): Channel | null {
  const [, server_id, topic] = SERVER_CHANNEL.exec(name) ?? [];
  if (server_id !== undefined && isServerTopic(topic)) return { kind: 'server', server_id, topic };
  const operation = OPERATION_CHANNEL.exec(name);
  if (operation?.[1]) return { kind: 'operation', operation_id: operation[1] };
  if (name === 'user:notifications') return { kind: 'notifications' };
  if (name === 'agents') return { kind: 'agents' };
  return null;
}
