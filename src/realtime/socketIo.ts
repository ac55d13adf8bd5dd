import type { Server as HttpServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, type DefaultEventsMap, type Socket } from 'socket.io';
import type { ClientToServerEvents, ServerToClientEvents } from '#src/contracts/events.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import type { Authenticate, Principal } from './client.js';
import type { Connection } from './connection.js';
import type { Hub } from './hub.js';
import { errorMessage } from './messages.js';

/** The largest thing a client may say: 200 channels with their cursors are a third of it. */
const MAX_FRAME_BYTES = 64 * 1024;
/** A connection that does not get through its handshake is nobody. */
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 1_000;

interface SocketData {
  token: string;
  principal: Principal;
}
type IoServer = Server<ClientToServerEvents, ServerToClientEvents, DefaultEventsMap, SocketData>;
type IoSocket = Socket<ClientToServerEvents, ServerToClientEvents, DefaultEventsMap, SocketData>;

export interface SocketIoDeps {
  /**
   * Its request handler must be there already: engine.io puts itself in front of what it finds. `routeUpgrades`
   * (upgrade.ts) must be called for it too.
   */
  http: HttpServer;
  hub: Hub;
  authenticate: Authenticate;
  cors: { origin: string[] };
  logger: Logger;
}

export interface SocketIoTransport {
  /**
   * After the hub's close: waits a second for the goodbyes and stops serving. The http server stays its owner's, who
   * closes the upgrade router next.
   */
  close(): Promise<void>;
}

export function attachSocketIo({ http, hub, authenticate, cors, logger }: SocketIoDeps): SocketIoTransport {
  const io: IoServer = new Server(http, {
    // Other upgrades on this server belong to others.
    destroyUpgrade: false,
    serveClient: false,
    maxHttpBufferSize: MAX_FRAME_BYTES,
    perMessageDeflate: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    cors,
  });

  io.use((socket, next) => {
    admit(socket).then(
      () => next(),
      (error: unknown) => {
        const reason = asAppError(error, logger);
        // A refused client gives up; a cut one comes again by itself, as it should when the fault is ours.
        if (reason.retryable) closeSocket(socket, reason);
        else next(Object.assign(new Error(reason.code), { data: problemOf(reason) }));
      },
    );
  });

  async function admit(socket: IoSocket): Promise<void> {
    const token = tokenOf(socket);
    if (token === null) throw new AppError('unauthenticated');
    socket.data.token = token;
    socket.data.principal = await authenticate(token);
  }

  io.on('connection', socket => {
    try {
      serve(socket, attach(socket), logger);
    } catch (error) {
      const reason = asAppError(error, logger);
      socket.emit('message', errorMessage('', problemOf(reason)));
      closeSocket(socket, reason);
    }
  });

  function attach(socket: IoSocket): Connection {
    const { conn } = socket;
    // Packets that engine.io holds while the network takes no more. It hands on all of them at once ("drain").
    let waiting = 0;
    const connection = hub.attach(
      {
        id: socket.id,
        send: message => void socket.emit('message', message),
        waiting: () => waiting,
        close: reason => closeSocket(socket, reason),
        verify: () => authenticate(socket.data.token),
      },
      socket.data.principal,
    );
    const onPacket = () => void waiting++;
    const onDrain = () => {
      waiting = 0;
      connection.drained();
    };
    conn.on('packetCreate', onPacket).on('drain', onDrain);
    socket.on('disconnect', () => {
      // The connection may outlive its socket, and get another.
      conn.off('packetCreate', onPacket).off('drain', onDrain);
      connection.detach();
    });
    return connection;
  }

  return {
    async close() {
      const deadline = new AbortController();
      const timeUp = sleep(CLOSE_GRACE_MS, undefined, { signal: deadline.signal }).catch(() => undefined);
      const gone = [...io.sockets.sockets.values()].map(
        socket => new Promise<void>(resolve => socket.once('disconnect', () => resolve())),
      );
      await Promise.race([Promise.all(gone), timeUp]);
      deadline.abort();
      // Not io.close(): that one would close the http server as well.
      io.engine.close();
    },
  };
}

type Requests = {
  [E in keyof ClientToServerEvents]: (input: unknown, ack: Ack<Answer<E> | Failure>) => Promise<void>;
};
type Answer<E extends keyof ClientToServerEvents> = Parameters<
  NonNullable<Parameters<ClientToServerEvents[E]>[1]>
>[0];
type Ack<T> = (answer: T) => void;
interface Failure {
  error: { code: ErrorCode; detail: string };
}

/** What a client asks for, each answered once: with its answer, or with why there is none. */
function serve(socket: IoSocket, connection: Connection, logger: Logger): void {
  const failure = (error: unknown): Failure => ({ error: problemOf(asAppError(error, logger)) });
  const requests: Requests = {
    subscribe: (input, ack) => connection.subscribe(input, ack).catch(error => ack(failure(error))),
    unsubscribe: async (input, ack) => ack(await connection.unsubscribe(input).catch(failure)),
    command: async (input, ack) => {
      try {
        ack({ accepted: true, ...(await connection.command(input)) });
      } catch (error) {
        ack({ accepted: false, ...failure(error) });
      }
    },
  };
  const refuse = async (detail: string, ack: Ack<Failure>) =>
    ack(await connection.refuse(detail).catch(failure));

  socket.onAny((event: string, ...args: unknown[]) => {
    const ack = args.find(isAck);
    const input = isAck(args[0]) ? undefined : args[0];
    if (!isRequest(event)) void refuse(`There is no request "${event.slice(0, 50)}"`, ack ?? ignore);
    else if (!ack && event === 'subscribe') connection.tell(NEEDS_ACK);
    else void requests[event](input, ack ?? ignore);
  });
}

/** Its answer holds the backlog: without one, messages would be missing from the beginning. */
const NEEDS_ACK = new AppError('invalid-request', { detail: 'subscribe needs an acknowledgement' });
const REQUESTS: Record<keyof ClientToServerEvents, true> = {
  subscribe: true,
  unsubscribe: true,
  command: true,
};

function isRequest(event: string): event is keyof ClientToServerEvents {
  return Object.hasOwn(REQUESTS, event);
}

function isAck(value: unknown): value is Ack<unknown> {
  return typeof value === 'function';
}

function ignore(): void {}

/** Retryable: the connection just breaks, so that the client comes again by itself. Otherwise it is told to stay away. */
function closeSocket(socket: IoSocket, reason: AppError): void {
  if (reason.retryable) socket.conn.close();
  else socket.disconnect(true);
}

function tokenOf(socket: IoSocket): string | null {
  const token: unknown = socket.handshake.auth['token'];
  if (typeof token === 'string' && token !== '') return token;
  return /^Bearer (\S+)$/i.exec(socket.handshake.headers.authorization ?? '')?.[1] ?? null;
}

function problemOf({ code, detail }: AppError): Failure['error'] {
  return { code, detail };
}

/** Anything else that is thrown is a bug: logged here, and none of the client's business. */
function asAppError(error: unknown, logger: Logger): AppError {
  if (error instanceof AppError) return error;
  logger.error({ err: error }, 'a socket request failed');
  return new AppError('internal', { cause: error });
}
