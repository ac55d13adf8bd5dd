import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isJsonRecord, type JsonRecord, numberOf, parseJsonRecord, textOf } from '../files.js';
import { isServerId } from '../server/paths.js';

export interface ReportedServer {
  readonly id: string;
  readonly epoch: number;
  /** `running`, `stopped`, …: a name of server/state.ts. */
  readonly state: string;
}

export interface LeaseRequest {
  readonly agentId: string;
  readonly bootId: string;
  readonly incarnation: string;
  readonly servers: readonly ReportedServer[];
}

export interface ToldServer {
  /** Of its present owner, which is this agent. */
  readonly epoch: number;
  readonly leased: boolean;
}

export interface LeaseAnswer {
  readonly seq: number;
  /** From when the request was sent. */
  readonly ttlMs: number;
  /** How often to ask. */
  readonly renewMs: number;
  /** Every server that this agent owns. */
  readonly servers: ReadonlyMap<string, ToldServer>;
}

export interface ControlPlane {
  readonly url: string;
  readonly token: string;
}

/** The lease was not granted; `message` is one sentence for the log. */
export class NotRenewed extends Error {
  constructor(
    /** The control plane's code when it refused, else what kept us from hearing it. */
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'NotRenewed';
  }
}

/** What the api takes. */
export const REPORTED_MAX = 1000;
/** Room for more than ten thousand servers. */
const ANSWER_BYTES_MAX = 1024 * 1024;
const DURATION_MS_MAX = 24 * 3600 * 1000;

/** `POST /api/v1/agent/lease`, once. Rejects with NotRenewed; follows no redirect, so the token goes nowhere else. */
export async function requestLease(
  controlPlane: ControlPlane,
  { agentId, bootId, incarnation, servers }: LeaseRequest,
  signal: AbortSignal,
): Promise<LeaseAnswer> {
  const body = JSON.stringify({ agent_id: agentId, boot_id: bootId, incarnation, servers });
  const { status, text } = await post(controlPlane, body, signal).catch((error: unknown) => {
    throw unheard(error);
  });
  const record = parseJsonRecord(text);
  if (status !== 200) throw refusal(status, record);
  const answer = record && decodeAnswer(record);
  if (!answer) throw new NotRenewed('bad-answer', 'the answer is not a lease');
  return answer;
}

interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

/** By node:http, which is loaded anyway: the first `fetch` of a process costs it 14 MB. */
function post({ url, token }: ControlPlane, body: string, signal: AbortSignal): Promise<RawAnswer> {
  const target = new URL('api/v1/agent/lease', url.endsWith('/') ? url : `${url}/`);
  const request = target.protocol === 'https:' ? requestHttps : requestHttp;
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const call = request(target, { method: 'POST', headers, signal }, response => {
      readBounded(response).then(text => resolve({ status: response.statusCode ?? 0, text }), reject);
    });
    call.on('error', reject);
    call.end(body);
  });
}

function readBounded(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((resolve, reject) => {
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > ANSWER_BYTES_MAX) {
        response.destroy(new NotRenewed('bad-answer', `the answer is larger than ${ANSWER_BYTES_MAX} bytes`));
      }
    });
    response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    response.on('error', reject);
  });
}

/** Undefined unless every part is what it must be: half a list would take leases from servers that have one. */
export function decodeAnswer(record: JsonRecord): LeaseAnswer | undefined {
  const seq = numberOf(record, 'lease_seq');
  const ttlMs = durationOf(record, 'ttl_ms');
  const renewMs = durationOf(record, 'renew_ms');
  const list: unknown = record['servers'];
  if (seq === undefined || ttlMs === undefined || renewMs === undefined || !Array.isArray(list))
    return undefined;
  const servers = new Map<string, ToldServer>();
  for (const entry of list) {
    const id = isJsonRecord(entry) ? textOf(entry, 'id') : undefined;
    const epoch = isJsonRecord(entry) ? numberOf(entry, 'epoch') : undefined;
    const leased: unknown = isJsonRecord(entry) ? entry['leased'] : undefined;
    if (id === undefined || !isServerId(id) || epoch === undefined || typeof leased !== 'boolean')
      return undefined;
    servers.set(id, { epoch, leased });
  }
  return { seq, ttlMs, renewMs, servers };
}

function durationOf(record: JsonRecord, key: string): number | undefined {
  const value = numberOf(record, key);
  return value !== undefined && value > 0 && value <= DURATION_MS_MAX ? value : undefined;
}

function refusal(status: number, record: JsonRecord | undefined): NotRenewed {
  const code = (record && textOf(record, 'code')) ?? `http-${status}`;
  const detail = (record && textOf(record, 'detail')) ?? `answered ${status}`;
  return new NotRenewed(code.slice(0, 50), detail.slice(0, 200));
}

/** An abort's cause is why. */
function unheard(error: unknown): NotRenewed {
  if (error instanceof NotRenewed) return error;
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  if (cause instanceof Error && cause.name === 'TimeoutError')
    return new NotRenewed('timeout', 'no answer in time');
  return new NotRenewed(
    'unreachable',
    (cause instanceof Error ? cause.message : String(cause)).slice(0, 200),
  );
}
