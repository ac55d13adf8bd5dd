import type { LogEntryView } from '#src/contracts/logEntry.js';
import { parseChannel, type Message, type SubscribeAnswer } from '#src/contracts/events.js';
import type { Connection } from './connection.js';
import type { ErrorData, ServerStatusData } from './messages.js';

type Request = Record<string, unknown>;

/** One way of speaking over a raw WebSocket. */
export interface Dialect {
  /** What the client is told of a message; null for what this dialect has no word for. */
  frameOf(message: Message): object | null;
  /** Rejects with an AppError; whoever called tells the client. */
  serve(request: Request, connection: Connection, write: (frame: object) => void): Promise<void>;
}

/** The messages of Socket.IO as they are, one JSON object a frame, and `subscribed` and `pong` as answers. */
export const plain: Dialect = {
  frameOf: message => message,
  async serve({ type, ...input }, connection, write) {
    switch (type) {
      case 'subscribe':
        return connection.subscribe(input, ({ subscribed, denied, backlog }) => {
          write(answer('subscribed', { subscribed, denied }));
          backlog.forEach(write);
        });
      case 'unsubscribe':
        return void (await connection.unsubscribe(input));
      case 'command':
        return void (await connection.command(input));
      case 'ping':
        await connection.greet();
        return write(answer('pong', {}));
      default:
        return connection.refuse('type must be subscribe, unsubscribe, command or ping');
    }
  },
};

function answer(type: 'subscribed' | 'pong', data: object) {
  return { type, channel: '', data, timestamp: new Date().toISOString(), cursor: null };
}

/** What existing desktop clients speak: a server's console and status in one, without channels and cursors. */
interface FlatFrame {
  type: 'log' | 'status' | 'error' | 'info';
  /** Empty when it is about no server. */
  server_id: string;
  timestamp: string;
  message: string;
  level: 'info' | 'warn' | 'error' | 'debug';
}

export const flat: Dialect = {
  frameOf: message => flatFrameOf(message),
  async serve({ action, server_id, command }, connection, write) {
    const serverId = typeof server_id === 'string' ? server_id : '';
    const channels = ['logs', 'status'].map(topic => `server:${serverId}:${topic}`);
    const info = (text: string) => write(flatFrame('info', serverId, text));
    switch (action) {
      case 'subscribe':
        return connection.subscribe({ channels }, ({ denied, backlog }) => {
          const refusal = refusalOf(denied);
          if (refusal !== null) write(flatFrame('error', serverId, refusal, 'error'));
          else info('Subscribed');
          backlog.map(flatFrameOf).forEach(frame => frame && write(frame));
        });
      case 'unsubscribe':
        await connection.unsubscribe({ channels });
        return info('Unsubscribed');
      case 'command':
        await connection.command({ server_id, command });
        return info('The command was sent');
      default:
        return connection.refuse('action must be subscribe, unsubscribe or command');
    }
  },
};

/** Of a member who may see the status and not the console, only the console is refused. */
function refusalOf(denied: SubscribeAnswer['denied']): string | null {
  const [first] = denied;
  if (first === undefined) return null;
  if (first.code === 'not-found') return 'There is no such server';
  return `Not allowed: ${denied.map(({ channel }) => channel.split(':').at(-1)).join(', ')}`;
}

function flatFrameOf(message: Message): FlatFrame | null {
  const channel = parseChannel(message.channel);
  const serverId = channel?.kind === 'server' ? channel.server_id : '';
  const frame = (...[type, text, level]: [FlatFrame['type'], string, FlatFrame['level']?]) =>
    flatFrame(type, serverId, text, level, message.timestamp);
  if (isOf<LogEntryView>(message, 'log_entry')) {
    const { message: text, stack_trace, level } = message.data;
    return frame('log', stack_trace === null ? text : `${text}\n${stack_trace}`, LEVELS[level]);
  }
  if (isOf<ServerStatusData>(message, 'server_status')) {
    return frame('status', message.data.status, message.data.status === 'error' ? 'error' : 'info');
  }
  if (isOf<ErrorData>(message, 'error')) {
    const { data } = message;
    if (data.code === 'dropped') return frame('info', `${data.dropped} lines were left out`, 'warn');
    return frame('error', data.detail, 'error');
  }
  return null;
}

const LEVELS = { INFO: 'info', WARN: 'warn', ERROR: 'error', DEBUG: 'debug' } as const;

function flatFrame(
  type: FlatFrame['type'],
  server_id: string,
  message: string,
  level: FlatFrame['level'] = 'info',
  timestamp = new Date().toISOString(),
): FlatFrame {
  return { type, server_id, timestamp, message, level };
}

/** A message's type says what its data is. */
function isOf<T>(message: Message, type: Message['type']): message is Message<T> {
  return message.type === type;
}
