import { io, type Socket } from 'socket.io-client';
import type {
  ClientToServerEvents,
  CommandAnswer,
  Message,
  ServerToClientEvents,
  SubscribeAnswer,
} from '#src/contracts/events.js';
import type { NotificationView } from '#src/contracts/notification.js';
import type { AgentStatusData, OperationData, ServerStatusData } from '#src/realtime/messages.js';

export interface SocketClientOptions {
  /** Sent as the handshake's `auth.token`. */
  token: string;
  /** Sent as they are, instead of a token. */
  headers?: Record<string, string>;
  /** Default: as a browser does it, websocket at once. */
  transports?: ('polling' | 'websocket')[];
  /** Default false: a test says itself when to come back. */
  reconnection?: boolean;
}

export interface SocketClient {
  readonly socket: Socket<ServerToClientEvents, ClientToServerEvents>;
  /** Everything that was received, in the order in which a user would see it: backlogs, then what followed. */
  readonly messages: Message[];
  /** By channel: where to go on. */
  readonly cursors: Map<string, string>;
  /** Rejects when the server answers an error. */
  subscribe(channels: string[], after?: Record<string, string>): Promise<SubscribeAnswer>;
  unsubscribe(channels: string[]): Promise<{ unsubscribed: string[] }>;
  command(serverId: string, command: string): Promise<CommandAnswer>;
  of(channel: string): Message[];
  /** Breaks the connection as a dead network would: no goodbye. */
  cut(): void;
  close(): void;
}

/**
 * A real Socket.IO client. Resolves when connected, rejects with the `connect_error`.
 * Note for whoever writes one: take the backlog in the acknowledgement's callback. After `await emitWithAck` the
 * messages that came in the same packet of the network have already been handled.
 */
export async function connectSocket(url: string, options: SocketClientOptions): Promise<SocketClient> {
  const socket: SocketClient['socket'] = io(url, {
    auth: options.headers ? {} : { token: options.token },
    ...(options.headers && { extraHeaders: options.headers }),
    transports: options.transports ?? ['websocket'],
    reconnection: options.reconnection ?? false,
    forceNew: true,
  });
  const messages: Message[] = [];
  const cursors = new Map<string, string>();
  const take = (message: Message) => {
    messages.push(message);
    if (message.cursor !== null) cursors.set(message.channel, message.cursor);
  };
  socket.on('message', take);

  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', error => {
      socket.close();
      reject(error);
    });
  });

  return {
    socket,
    messages,
    cursors,
    subscribe: (channels, after) =>
      new Promise((resolve, reject) => {
        socket.timeout(10_000).emit('subscribe', { channels, ...(after && { after }) }, (late, answer) => {
          if (late) return reject(late);
          if ('error' in answer) return reject(Object.assign(new Error(answer.error.code), answer.error));
          answer.backlog.forEach(take);
          resolve(answer);
        });
      }),
    unsubscribe: channels => new Promise(resolve => socket.emit('unsubscribe', { channels }, resolve)),
    command: (server_id, command) =>
      new Promise(resolve => socket.emit('command', { server_id, command }, resolve)),
    of: channel => messages.filter(message => message.channel === channel),
    cut: () => void socket.io.engine.close(),
    close: () => void socket.close(),
  };
}

const dataOf =
  <T>(is: (message: Message) => message is Message<T>) =>
  (messages: readonly Message[]): T[] =>
    messages.filter(is).map(({ data }) => data);

/** What the messages of one type say, in order. */
export const operationData = dataOf((m): m is Message<OperationData> => m.type === 'operation');
export const statusData = dataOf((m): m is Message<ServerStatusData> => m.type === 'server_status');
export const agentData = dataOf((m): m is Message<AgentStatusData> => m.type === 'agent_status');
export const notificationData = dataOf(
  (m): m is Message<NotificationView> => m.type === 'alert' || m.type === 'notification',
);
