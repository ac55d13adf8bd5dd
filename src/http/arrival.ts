import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * How long the body of a request may take to arrive. Node's own `requestTimeout` is one for all requests and can't be
 * lifted for those that bring a gigabyte.
 */
const limits = new WeakMap<IncomingMessage, Limit>();

interface Limit {
  timer: NodeJS.Timeout | undefined;
  readonly response: ServerResponse;
}

/** Begins with the limit that every request has. */
export function watchArrival(request: IncomingMessage, response: ServerResponse, ms: number): void {
  if (request.headers['content-length'] === undefined && !request.headers['transfer-encoding']) return;
  limits.set(request, { timer: undefined, response });
  request.once('close', () => liftArrivalLimit(request));
  limitArrival(request, ms);
}

/** From now on it has this long; who has not sent everything by then is cut off. */
export function limitArrival(request: IncomingMessage, ms: number): void {
  const limit = limits.get(request);
  if (!limit) return;
  clearTimeout(limit.timer);
  limit.timer = request.complete ? undefined : setTimeout(() => cutOff(request, limit.response), ms).unref();
}

/** The reader of the body keeps the time itself. */
export function liftArrivalLimit(request: IncomingMessage): void {
  clearTimeout(limits.get(request)?.timer);
}

function cutOff(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete) return;
  if (response.headersSent) request.socket.destroy();
  else request.socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n');
}
