import { Agent, request, type IncomingHttpHeaders } from 'node:http';
import type { OperationView } from '#src/contracts/operation.js';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: unknown;
  /** From the first byte of the request to the last of the answer, in ms. */
  tookMs: number;
}

const TIMEOUT_MS = 30_000;

/** A client that keeps its connections, as front ends do, and costs the machine as little as it can. */
export class ApiClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(
    readonly url: string,
    readonly token?: string,
  ) {}

  send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const began = performance.now();
    return new Promise((resolve, reject) => {
      const call = request(
        `${this.url}${path}`,
        {
          method,
          agent: this.#agent,
          timeout: TIMEOUT_MS,
          headers: {
            ...(this.token !== undefined && { authorization: `Bearer ${this.token}` }),
            ...(payload && { 'content-type': 'application/json' }),
            'content-length': payload?.length ?? 0,
            ...headers,
          },
        },
        response => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const tookMs = performance.now() - began;
            const text = Buffer.concat(chunks).toString();
            const parsed: unknown = text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text;
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed, tookMs });
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`${method} ${path} got no answer`)));
      call.on('error', reject);
      call.end(payload);
    });
  }

  /** Asks for an action on a server; rejects when it is not accepted. */
  async act(
    serverId: string,
    verb: 'start' | 'stop' | 'provision',
  ): Promise<{ operation: OperationView; tookMs: number }> {
    const { status, body, tookMs } = await this.send('POST', `/api/v1/servers/${serverId}/${verb}`);
    if (status !== 202 || !isOperation(body)) throw new Error(`${verb}: ${status} ${JSON.stringify(body)}`);
    return { operation: body, tookMs };
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Answers are checked against their schemas by the API itself; this only tells an operation from a problem. */
function isOperation(body: unknown): body is OperationView {
  return typeof body === 'object' && body !== null && 'workflow_id' in body;
}

/** The text in a field of an answer's body. */
export function textOf(body: unknown, field: string): string {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, field) : undefined;
  if (typeof value !== 'string') throw new Error(`no ${field} in ${JSON.stringify(body)}`);
  return value;
}
