import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import type { Message } from '#src/contracts/events.js';
import { AppError, ERRORS } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import { bearerOf } from '#src/security/tokens.js';
import type { Authenticate, Principal } from './client.js';
import type { Connection } from './connection.js';
import type { Hub } from './hub.js';
import { waitForGoodbyes } from './goodbyes.js';
import { errorMessage } from './messages.js';
import { flat, plain, type Dialect } from './rawDialects.js';
import { asAppError, problemOf } from './socketRequests.js';
import type { UpgradeHandler } from './upgrade.js';

export const RAW_SOCKET_PATH = '/api/v1/ws';

/** As with Socket.IO. */
const MAX_FRAME_BYTES = 64 * 1024;
/** Proxies cut what is silent for a minute. Protocol pings: no client has to do anything for them. */
const PING_MS = 25_000;
/** RFC 6455 §7.4.1: try again, and do not. */
const SERVICE_RESTART = 1012;
const POLICY_VIOLATION = 1008;

export interface RawSocketDeps {
  hub: Hub;
  authenticate: Authenticate;
  logger: Logger;
  /** How often a connection must show that it lives. */
  pingMs?: number;
}

export interface RawSockets {
  /** For the upgrade router, at RAW_SOCKET_PATH. */
  upgrade: UpgradeHandler;
  /** After the hub's close: waits a second for the goodbyes, then cuts. */
  close(): Promise<void>;
}

/**
 * The hub over plain WebSockets: `?token=` or `Authorization: Bearer`, then one JSON object a frame. Who is not let in
 * gets an HTTP answer in place of the upgrade.
 */
export function createRawSockets({ hub, authenticate, logger, pingMs = PING_MS }: RawSocketDeps): RawSockets {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
  });
  // Those that have not answered the last ping are not in it.
  const answered = new WeakSet<WebSocket>();
  const pings = setInterval(() => {
    for (const socket of server.clients) {
      if (!answered.delete(socket)) socket.terminate();
      else socket.ping();
    }
  }, pingMs).unref();

  async function admit(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // The peer may go at any moment, and nothing else listens yet.
    const onError = () => socket.destroy();
    socket.on('error', onError);
    const token = tokenOf(request);
    let principal: Principal;
    try {
      if (token === null) throw new AppError('unauthenticated');
      principal = await authenticate(token);
    } catch (error) {
      return refuse(socket, asAppError(error, logger), token !== null);
    }
    if (socket.destroyed) return;
    socket.off('error', onError);
    server.handleUpgrade(request, socket, head, accepted => {
      answered.add(accepted);
      accepted.on('pong', () => answered.add(accepted));
      accepted.on('error', error => logger.debug({ err: error }, 'a raw socket broke'));
      serve(accepted, principal, () => authenticate(token));
    });
  }

  function serve(socket: WebSocket, principal: Principal, verify: () => Promise<Principal>): void {
    let dialect: Dialect = plain;
    let waiting = 0;
    let connection: Connection;
    const write = (frame: object) => {
      waiting += 1;
      socket.send(encode(frame), () => {
        waiting -= 1;
        if (waiting === 0) connection.drained();
      });
    };
    const send = (message: Message) => {
      const frame = dialect.frameOf(message);
      if (frame) write(frame);
    };
    const close = (reason: AppError) =>
      socket.close(reason.retryable ? SERVICE_RESTART : POLICY_VIOLATION, reason.code);
    try {
      connection = hub.attach({ id: randomUUID(), send, waiting: () => waiting, close, verify }, principal);
    } catch (error) {
      const reason = asAppError(error, logger);
      socket.send(encode(errorMessage('', problemOf(reason))));
      return close(reason);
    }
    socket.on('close', () => connection.detach());
    socket.on('message', (data, isBinary) => {
      const request = isBinary ? null : parseObject(data);
      if (request && 'action' in request) dialect = flat;
      const served = request
        ? dialect.serve(request, connection, write)
        : connection.refuse('A frame must be one JSON object, as text');
      served.catch((error: unknown) => connection.tell(asAppError(error, logger)));
    });
  }

  return {
    upgrade: (request, socket, head) => void admit(request, socket, head),
    async close() {
      clearInterval(pings);
      await waitForGoodbyes(
        [...server.clients].map(socket => new Promise(resolve => socket.once('close', resolve))),
      );
      for (const socket of server.clients) socket.terminate();
    },
  };
}

/** One message often goes to many: it is encoded once. */
const encoded = new WeakMap<object, string>();

function encode(frame: object): string {
  const known = encoded.get(frame);
  if (known !== undefined) return known;
  const text = JSON.stringify(frame);
  encoded.set(frame, text);
  return text;
}

function parseObject(data: RawData): Record<string, unknown> | null {
  try {
    const value: unknown = Buffer.isBuffer(data) ? JSON.parse(data.toString()) : null;
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Browsers can set no headers for a WebSocket, so most tokens come in the query. */
function tokenOf({ headers, url = '' }: IncomingMessage): string | null {
  const bearer = bearerOf(headers.authorization);
  if (bearer !== undefined) return bearer;
  const [, query = ''] = url.split('?', 2);
  return new URLSearchParams(query).get('token') || null;
}

/** As the REST routes answer, in the few lines that there is room for before an upgrade. */
function refuse(socket: Duplex, error: AppError, hadToken: boolean): void {
  const { status, title } = ERRORS[error.code];
  const body = JSON.stringify({
    type: `urn:aymc:problem:${error.code}`,
    title,
    status,
    code: error.code,
    error: title,
  });
  const head = [
    `HTTP/1.1 ${status} ${status === 401 ? 'Unauthorized' : 'Service Unavailable'}`,
    ...(status === 401
      ? [`WWW-Authenticate: Bearer realm="aymc"${hadToken ? ', error="invalid_token"' : ''}`]
      : []),
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
