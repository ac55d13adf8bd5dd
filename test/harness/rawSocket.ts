import { once } from 'node:events';
import { WebSocket } from 'ws';

export type Frame = Record<string, unknown>;

export interface RawSocket {
  readonly socket: WebSocket;
  /** Everything that came, in order. */
  readonly frames: Frame[];
  send(request: object): void;
  /** Resolves with code and reason when the server ends it. */
  readonly closed: Promise<{ code: number; reason: string }>;
}

export function isFrame(value: unknown): value is Frame {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A plain WebSocket client. Rejects with `Unexpected server response: <status>` when there is no upgrade. */
export async function connectRaw(
  url: string,
  { token, header }: { token?: string; header?: string },
): Promise<RawSocket> {
  const query = token === undefined ? '' : `?token=${encodeURIComponent(token)}`;
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/ws${query}`, {
    headers: header === undefined ? {} : { authorization: header },
  });
  const frames: Frame[] = [];
  socket.on('message', data => {
    const frame: unknown = Buffer.isBuffer(data) ? JSON.parse(data.toString()) : null;
    if (!isFrame(frame)) throw new Error('a frame that is no JSON object');
    frames.push(frame);
  });
  const closed = new Promise<{ code: number; reason: string }>(resolve =>
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })),
  );
  await once(socket, 'open');
  return { socket, frames, send: request => socket.send(JSON.stringify(request)), closed };
}
