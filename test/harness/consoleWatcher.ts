import { setTimeout as sleep } from 'node:timers/promises';
import type { Message } from '#src/contracts/events.js';
import type { LogEntryView } from '#src/contracts/logEntry.js';
import type { ClusterUser } from './clusterUser.js';
import { readPage } from './logPages.js';
import { connectSocket, type SocketClient } from './socketClient.js';

const RECONNECT_MS = 200;

/**
 * Someone who watches a console over Socket.IO as a browser does: comes back whenever the connection is gone, from its
 * own last cursor, and reads up what it is told to have been left out. Keeps the lines' texts and nothing else.
 */
export class ConsoleWatcher {
  readonly lines: string[] = [];
  connections = 0;
  /** How often it was told that something was left out. */
  gaps = 0;
  readonly #channel: string;
  readonly #ended: Promise<void>;
  #cursor: string | undefined;
  #queue: Message[] = [];
  #showing: Promise<void> = Promise.resolve();
  /** Where lines were left out, until the line after them is known. */
  #gapAfter: string | undefined;
  #client: SocketClient | undefined;
  #closed = false;

  constructor(
    private readonly url: string,
    private readonly user: ClusterUser,
    private readonly serverId: string,
  ) {
    this.#channel = `server:${serverId}:logs`;
    this.#ended = this.#watch();
  }

  /** Rejects with what it has stumbled over, a wrong page or a refused subscription. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#client?.close();
    await this.#ended;
    await this.#showing;
  }

  async #watch(): Promise<void> {
    while (!this.#closed) {
      await this.#stayConnected().catch(() => sleep(RECONNECT_MS));
      this.#client?.close();
    }
  }

  async #stayConnected(): Promise<void> {
    const client = await connectSocket(this.url, { token: this.user.token });
    this.#client = client;
    const gone = new Promise(resolve => client.socket.once('disconnect', resolve));
    client.socket.on('message', () => this.#take(client));
    await client.subscribe([this.#channel], this.#cursor ? { [this.#channel]: this.#cursor } : undefined);
    this.connections += 1;
    this.#take(client);
    if (client.socket.connected) await gone;
  }

  #take({ messages, cursors }: SocketClient): void {
    this.#queue.push(...messages.splice(0));
    this.#cursor = cursors.get(this.#channel) ?? this.#cursor;
    this.#showing = this.#showing.then(() => this.#showQueue());
    this.#showing.catch(() => undefined); // told by `close`
  }

  async #showQueue(): Promise<void> {
    for (const message of this.#queue.splice(0)) {
      if (isLine(message)) await this.#show(message.data);
      else if (isGap(message)) {
        this.gaps += 1;
        this.#gapAfter ??= message.cursor ?? undefined;
      }
    }
  }

  async #show(line: LogEntryView): Promise<void> {
    if (this.#gapAfter !== undefined) await this.#readUp(this.#gapAfter, line.cursor);
    this.#gapAfter = undefined;
    this.lines.push(line.message);
  }

  async #readUp(after: string, before: string): Promise<void> {
    for (let from = after; ;) {
      const page = (await readPage(this.user, this.serverId, { after: from })).toReversed();
      for (const { cursor, message } of page) {
        if (cursor === before) return;
        this.lines.push(message);
        from = cursor;
      }
      if (page.length === 0) throw new Error('the line after the gap is not in the history');
    }
  }
}

function isLine(message: Message): message is Message<LogEntryView> {
  return message.type === 'log_entry';
}

function isGap({ type, data }: Message): boolean {
  return (
    type === 'error' && typeof data === 'object' && data !== null && Reflect.get(data, 'code') === 'dropped'
  );
}
