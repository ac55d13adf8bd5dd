import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OperationEventView, OperationView } from '#src/contracts/operation.js';
import { hasEnded } from '#src/domain/operation.js';
import type { ServerStatus } from '#src/domain/serverState.js';
import { waitFor } from './waitFor.js';

export interface Answer {
  status: number;
  body: unknown;
}

export interface NewServer {
  /** Absent: whatever the upstream of its type has. */
  jarUrl?: string;
  jarSha256?: string;
  port: number;
  agentId?: string;
  /** Further fields of the request. */
  extra?: Record<string, unknown>;
}

export type Verb = 'start' | 'stop' | 'restart' | 'kill' | 'provision';

/** What a test reads of a server's row. */
export interface ServerView {
  id: string;
  status: ServerStatus;
  desired_state: string;
  installed: boolean;
  operation_id: string | null;
}

const CHEAP_JAVA_ARGS = '-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError';
/** For a server that is started again and again: its second boot costs half of its first. */
export const SHARED_CLASSES = {
  java_args: `${CHEAP_JAVA_ARGS} -XX:+AutoCreateSharedArchive -XX:SharedArchiveFile=classes.jsa`,
};

const CALL_TIMEOUT_MS = 30_000;
/** A well-behaved client is not put off by an outage: it asks again with the same key. */
const RETRY_MS = 100;
const RETRY_FOR_MS = 60_000;

/** Somebody signed in, who sees and does everything through the REST API. */
export class ClusterUser {
  constructor(
    private readonly url: string,
    readonly token: string,
  ) {}

  /** One request, one answer; rejects when none comes. */
  async send(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    return sendRequest(this.url, method, path, body, { authorization: `Bearer ${this.token}`, ...headers });
  }

  /** Until the API answers anything but that something is down. */
  async persist(method: string, path: string, body?: unknown, key: string = randomUUID()): Promise<Answer> {
    const deadline = performance.now() + RETRY_FOR_MS;
    for (;;) {
      let reason: unknown;
      try {
        const answer = await this.send(method, path, body, { 'idempotency-key': key });
        if (answer.status < 500) return answer;
        reason = answer;
      } catch (error) {
        reason = error;
      }
      if (performance.now() > deadline)
        throw new Error(`${method} ${path} gets no answer`, { cause: reason });
      await sleep(RETRY_MS);
    }
  }

  /** Registers a server; answers when it is accepted. */
  async create(server: NewServer): Promise<{ id: string; operationId: string }> {
    const { body, status } = await this.persist('POST', '/servers', {
      name: `Server ${server.port}`,
      server_type: 'vanilla',
      version: '1.21.4',
      port: server.port,
      memory_min: 64,
      memory_max: 256,
      java_args: CHEAP_JAVA_ARGS,
      accept_eula: true,
      jar_url: server.jarUrl,
      jar_sha256: server.jarSha256,
      ...(server.agentId !== undefined && { agent_id: server.agentId }),
      ...server.extra,
    });
    if (status !== 201) throw new Error(`create answered ${status}: ${JSON.stringify(body)}`);
    return { id: textOf(body, 'id'), operationId: textOf(body, 'operation_id') };
  }

  /** Asks for an action on a server, with a key of its own unless given. */
  async act(serverId: string, verb: Verb | 'delete', key?: string): Promise<OperationView> {
    const [method, path] = verb === 'delete' ? ['DELETE', ''] : ['POST', `/${verb}`];
    const { body, status } = await this.persist(method, `/servers/${serverId}${path}`, undefined, key);
    if (status !== 202 || !isOperation(body)) {
      throw new Error(`${verb} answered ${status}: ${JSON.stringify(body)}`);
    }
    return body;
  }

  /** …and waits for its end. */
  async carry(serverId: string, verb: Verb | 'delete', timeoutMs?: number): Promise<OperationView> {
    return this.ended((await this.act(serverId, verb)).id, timeoutMs);
  }

  async operation(id: string): Promise<OperationView> {
    const { body, status } = await this.persist('GET', `/operations/${id}`);
    if (status !== 200 || !isOperation(body)) throw new Error(`operation ${id}: ${status}`);
    return body;
  }

  async ended(operationId: string, timeoutMs = 60_000): Promise<OperationView> {
    let last: OperationView | undefined;
    return waitFor(
      async () => {
        last = await this.operation(operationId);
        return hasEnded(last.state) ? last : null;
      },
      { timeoutMs, everyMs: 50, what: `the end of operation ${operationId}` },
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${last?.kind} ${last?.state}`, { cause: error });
    });
  }

  async events(operationId: string): Promise<OperationEventView[]> {
    const { body } = await this.persist('GET', `/operations/${operationId}/events?limit=500`);
    if (!Array.isArray(body)) throw new Error('events: no list');
    return body.filter(isEvent);
  }

  async server(id: string): Promise<ServerView> {
    const { body, status } = await this.persist('GET', `/servers/${id}`);
    if (status !== 200 || !isServer(body)) throw new Error(`server ${id}: ${status}`);
    return body;
  }
}

/** A request without signing in. */
export async function sendRequest(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const answered: unknown = text === '' ? undefined : JSON.parse(text);
  return { status: response.status, body: answered };
}

/** The text in a field of an answer's body. */
export function textOf(body: unknown, field: string): string {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, field) : undefined;
  if (typeof value !== 'string') throw new Error(`no text in ${field} of ${JSON.stringify(body)}`);
  return value;
}

/** The API checks its own answers against its schemas outside of production: enough to tell the shapes apart here. */
function isOperation(body: unknown): body is OperationView {
  return typeof body === 'object' && body !== null && 'workflow_id' in body && 'state' in body;
}

function isEvent(body: unknown): body is OperationEventView {
  return typeof body === 'object' && body !== null && 'seq' in body && 'type' in body;
}

function isServer(body: unknown): body is ServerView {
  return typeof body === 'object' && body !== null && 'desired_state' in body && 'installed' in body;
}
