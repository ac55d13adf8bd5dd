import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export interface Answer {
  /** Default 200. */
  status?: number;
  /** Default application/json. */
  type?: string;
  body: string | Buffer;
}

/** An upstream as it is at rest: it answers paths, and says in its own way that there is no such thing. */
export interface UpstreamFixture {
  answers: Readonly<Record<string, Answer>>;
  missing: Answer;
}

/** `redirect` leads to another host's root; `silent` begins an answer and never ends it. */
export type UpstreamFault =
  'html-page' | 'wrong-shape' | 'error-500' | 'rate-limited' | 'silent' | 'oversize' | 'redirect';

export interface LocalUpstream {
  /** Its base. */
  url: string;
  requests: { path: string; userAgent: string | undefined }[];
  /** Every request meets this from now on; undefined ends that. */
  misbehave(fault: UpstreamFault | undefined): void;
  /** Where `redirect` leads. */
  redirectTo(url: string): void;
  /** The port is free afterwards: whoever asks is refused. */
  close(): Promise<void>;
}

export const json = (value: unknown, status = 200): Answer => ({ status, body: JSON.stringify(value) });
export const jar = (body: Buffer): Answer => ({ type: 'application/java-archive', body });

/** An upstream on a free port of 127.0.0.1; what it says of itself may hold its own address. */
export async function serveUpstream(make: (url: string) => UpstreamFixture): Promise<LocalUpstream> {
  let fault: UpstreamFault | undefined;
  let target = '/';
  const requests: LocalUpstream['requests'] = [];

  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the upstream got no port');
  const url = `http://127.0.0.1:${address.port}`;
  const fixture = make(url);
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url ?? '/';
    requests.push({ path, userAgent: request.headers['user-agent'] });
    if (fault) return fail(response, fault, target);
    const { status = 200, type = 'application/json', body } = fixture.answers[path] ?? fixture.missing;
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body);
  });
  return {
    url,
    requests,
    misbehave: wanted => void (fault = wanted),
    redirectTo: wanted => void (target = wanted),
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function fail(response: ServerResponse, fault: UpstreamFault, target: string): void {
  switch (fault) {
    case 'html-page':
      return void response
        .writeHead(200, { 'Content-Type': 'text/html' })
        .end('<!doctype html><title>Just a moment…</title>');
    case 'wrong-shape':
      return void response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"hello":"world"}');
    case 'error-500':
      return void response.writeHead(500).end('internal server error');
    case 'rate-limited':
      return void response.writeHead(429, { 'Retry-After': '7' }).end();
    case 'silent':
      return void response.writeHead(200, { 'Content-Type': 'application/json' }).write('{');
    case 'oversize':
      return void response
        .writeHead(200, { 'Content-Type': 'application/json' })
        .end(' '.repeat(1024 * 1024));
    case 'redirect':
      return void response.writeHead(302, { Location: target }).end();
  }
}
