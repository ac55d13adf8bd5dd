import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

export interface HookCall {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface HookServer {
  url: string;
  port: number;
  /** In the order of their arrival. */
  calls: HookCall[];
  close(): Promise<void>;
}

/** Somebody's end of a webhook; answers 204 unless `answer` says otherwise. `nth` counts the calls, from 1. */
export async function startHookServer(
  answer: (response: ServerResponse, call: HookCall, nth: number) => void = response =>
    void response.writeHead(204).end(),
): Promise<HookServer> {
  const calls: HookCall[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const call = { path: request.url ?? '', headers: request.headers, body: await text(request) };
    calls.push(call);
    answer(response, call, calls.length);
  };
  const server = createServer((request, response) => {
    take(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server got no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    calls,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
