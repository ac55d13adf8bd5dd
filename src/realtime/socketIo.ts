import type { Server as HttpServer } from 'node:http';
import { Server, type DefaultEventsMap, type Socket } from 'socket.io';
import type { ClientToServerEvents, ServerToClientEvents } from '#src/contracts/events.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import { bearerOf } from '#src/security/tokens.js';
import type { Authenticate, Principal } from './client.js';
import type { Connection } from './connection.js';
import type { Hub } from './hub.js';
import { createFanOut } from './fanOut.js';
import { waitForGoodbyes } from './goodbyes.js';
import { errorMessage } from './messages.js';
import { asAppError, problemOf, serveRequests } from './socketRequests.js';

/** The largest thing a client may say: 200 channels with their cursors are a third of it. */
const MAX_FRAME_BYTES = 64 * 1024;
/** A connection that does not get through its handshake is nobody. */
const CONNECT_TIMEOUT_MS = 10_000;

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
  // Every socket is in a room named after itself.
  const fanOut = createFanOut((message, to) => void io.local.to(to).emit('message', message));

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
      serveRequests(socket, { connection: attach(socket), logger, beforeAnswer: fanOut.flush });
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
        send: message => fanOut.send(message, socket.id),
        waiting: () => waiting,
        close: reason => {
          fanOut.flush();
          closeSocket(socket, reason);
        },
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
      await waitForGoodbyes(
        [...io.sockets.sockets.values()].map(
          socket => new Promise(resolve => socket.once('disconnect', resolve)),
        ),
      );
      // Not io.close(): that one would close the http server as well.
      io.engine.close();
    },
  };
}

/** Retryable: the connection just breaks, so that the client comes again by itself. Otherwise it is told to stay away. */
function closeSocket(socket: IoSocket, reason: AppError): void {
  if (reason.retryable) socket.conn.close();
  else socket.disconnect(true);
}

function tokenOf(socket: IoSocket): string | null {
  const token: unknown = socket.handshake.auth['token'];
  if (typeof token === 'string' && token !== '') return token;
  return bearerOf(socket.handshake.headers.authorization) ?? null;
}
