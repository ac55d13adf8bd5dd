import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How an upstream may misbehave: an error, a page instead of a file, a connection cut in mid-body, a trickle, silence after the
 * first bytes, one flipped byte, or a server that knows no ranges and always sends the whole file.
 */
export type JarFault =
  'error-500' | 'html-page' | 'truncated' | 'slow' | 'stalled' | 'flipped-byte' | 'no-ranges';

export interface ServedRequest {
  method: string;
  path: string;
  /** The Range header, as asked for. */
  range: string | undefined;
  userAgent: string | undefined;
  status: number;
  /** Bytes of the body that were handed to the socket; grows while the answer is under way. */
  bytes: number;
  fault: JarFault | undefined;
}

export interface JarServer {
  /** Where the file is served properly, as long as `misbehave` was not called. */
  url: string;
  /** The same file behind a fault that is always on: the fault is the first part of the URL's path. */
  urlWith(fault: JarFault): string;
  /** The next `times` requests for `url` (default: all from now on) meet this fault; undefined ends that. */
  misbehave(fault: JarFault | undefined, times?: number): void;
  /** Every request so far. */
  requests: readonly ServedRequest[];
  /** Body bytes over all requests. */
  bytesServed(): number;
  /** Cuts what is under way and frees the port. */
  close(): Promise<void>;
}

export interface JarServerOptions {
  /** `truncated` and `stalled` send so many bytes of each answer (default 1 MiB), so that a client that resumes gets on. */
  cutAfterBytes?: number;
  /** Pace of `slow` (default 256 KiB/s). */
  slowBytesPerSecond?: number;
}

interface Slice {
  start: number;
  /** Not included. */
  end: number;
}

const faults: readonly JarFault[] = [
  'error-500',
  'html-page',
  'truncated',
  'slow',
  'stalled',
  'flipped-byte',
  'no-ranges',
];
const slowTickMs = 50;

/** Serves one file on a free port of 127.0.0.1, with ranges, ETag and If-Range like any download host. */
export async function serveJar(file: string, options: JarServerOptions = {}): Promise<JarServer> {
  const { cutAfterBytes = 1024 * 1024, slowBytesPerSecond = 256 * 1024 } = options;
  const content = await readFile(file);
  const etag = `"${createHash('sha256').update(content).digest('hex').slice(0, 32)}"`;
  const name = encodeURIComponent(basename(file));
  const requests: ServedRequest[] = [];
  const closing = new AbortController();
  let current: { fault: JarFault; times: number } | undefined;

  function faultOf(path: string): JarFault | undefined {
    const inPath = faults.find(fault => path === `/${fault}/${name}`);
    if (inPath) return inPath;
    if (!current || current.times === 0) return undefined;
    current.times -= 1;
    return current.fault;
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    const fault = faultOf(path);
    const range = request.headers.range;
    const served: ServedRequest = {
      method: request.method ?? '',
      path,
      range,
      userAgent: request.headers['user-agent'],
      status: 0,
      bytes: 0,
      fault,
    };
    requests.push(served);
    const end = (status: number, type: string, body: string): void => {
      served.status = status;
      served.bytes = Buffer.byteLength(body);
      response.writeHead(status, { 'content-type': type }).end(body);
    };

    if (!path.endsWith(`/${name}`)) return end(404, 'text/plain', 'not found');
    if (fault === 'error-500') return end(500, 'text/plain', 'internal server error');
    if (fault === 'html-page') return end(200, 'text/html', '<!doctype html><title>One moment…</title>');

    const ifRange = request.headers['if-range'];
    const rangeApplies = fault !== 'no-ranges' && (ifRange === undefined || ifRange === etag);
    const slice = rangeApplies ? sliceOf(range, content.length) : undefined;
    if (slice === 'unsatisfiable') {
      response.setHeader('content-range', `bytes */${content.length}`);
      return end(416, 'text/plain', 'range not satisfiable');
    }
    const { start, end: stop } = slice ?? { start: 0, end: content.length };
    served.status = slice ? 206 : 200;
    response.writeHead(served.status, {
      'content-type': 'application/java-archive',
      'content-length': stop - start,
      etag,
      ...(fault === 'no-ranges' ? {} : { 'accept-ranges': 'bytes' }),
      ...(slice ? { 'content-range': `bytes ${start}-${stop - 1}/${content.length}` } : {}),
    });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    await sendBody(response, served, content.subarray(start, stop));
  }

  async function sendBody(response: ServerResponse, served: ServedRequest, body: Buffer): Promise<void> {
    switch (served.fault) {
      case 'truncated':
        await write(response, served, body.subarray(0, cutAfterBytes));
        response.destroy();
        return;
      case 'stalled':
        await write(response, served, body.subarray(0, cutAfterBytes));
        return;
      case 'slow': {
        const step = Math.max(1, Math.round((slowBytesPerSecond * slowTickMs) / 1000));
        for (let at = 0; at < body.length && !response.destroyed; at += step) {
          await write(response, served, body.subarray(at, at + step));
          await sleep(slowTickMs, undefined, { signal: closing.signal });
        }
        break;
      }
      case 'flipped-byte':
        await write(response, served, flipMiddleByte(body));
        break;
      default:
        await write(response, served, body);
    }
    response.end();
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the jar server got no port');
  const origin = `http://127.0.0.1:${address.port}`;

  return {
    url: `${origin}/${name}`,
    urlWith: fault => `${origin}/${fault}/${name}`,
    misbehave: (fault, times = Infinity) => {
      current = fault && { fault, times };
    },
    requests,
    bytesServed: () => requests.reduce((sum, { bytes }) => sum + bytes, 0),
    close: async () => {
      closing.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Resolves when the socket has taken the bytes or is gone; pieces keep the count honest when a client leaves half way. */
async function write(response: ServerResponse, served: ServedRequest, body: Buffer): Promise<void> {
  const piece = 64 * 1024;
  for (let at = 0; at < body.length && !response.destroyed; at += piece) {
    const bytes = body.subarray(at, at + piece);
    served.bytes += bytes.length;
    if (!response.write(bytes)) await drained(response);
  }
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.once('drain', done).once('close', done);
  });
}

/** RFC 9110 §14: one range of bytes. What is malformed or has several ranges is ignored, as a server may: the whole file. */
function sliceOf(range: string | undefined, length: number): Slice | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(range ?? '');
  if (!match) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const suffix = Math.min(Number(last), length);
    return suffix === 0 ? 'unsatisfiable' : { start: length - suffix, end: length };
  }
  const start = Number(first);
  const end = last === '' ? length : Math.min(Number(last) + 1, length);
  if (start >= length) return 'unsatisfiable';
  return start < end ? { start, end } : undefined;
}

function flipMiddleByte(body: Buffer): Buffer {
  const flipped = Buffer.from(body);
  const middle = Math.floor(flipped.length / 2);
  flipped.writeUInt8(flipped.readUInt8(middle) ^ 0xff, middle);
  return flipped;
}
