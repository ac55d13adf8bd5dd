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
  { url, token }: ControlPlane,
  { agentId, bootId, incarnation, servers }: LeaseRequest,
  signal: AbortSignal,
): Promise<LeaseAnswer> {
  let status: number;
  let text: string;
  try {
    const response = await fetch(new URL('api/v1/agent/lease', url.endsWith('/') ? url : `${url}/`), {
      method: 'POST',
      redirect: 'error',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ agent_id: agentId, boot_id: bootId, incarnation, servers }),
      signal,
    });
    status = response.status;
    text = await readBounded(response);
  } catch (error) {
    throw error instanceof NotRenewed ? error : unheard(error);
  }
  const record = parseJsonRecord(text);
  if (status !== 200) throw refusal(status, record);
  const answer = record && decodeAnswer(record);
  if (!answer) throw new NotRenewed('bad-answer', 'the answer is not a lease');
  return answer;
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const chunk = await reader?.read();
    if (chunk === undefined || chunk.done) return Buffer.concat(chunks).toString('utf8');
    bytes += chunk.value.byteLength;
    if (bytes > ANSWER_BYTES_MAX) {
      await reader?.cancel();
      throw new NotRenewed('bad-answer', `the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    }
    chunks.push(chunk.value);
  }
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

/** What fetch throws says little itself; its cause has the reason. */
function unheard(error: unknown): NotRenewed {
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  if (timedOut) return new NotRenewed('timeout', 'no answer in time');
  return new NotRenewed(
    'unreachable',
    (cause instanceof Error ? cause.message : String(cause)).slice(0, 200),
  );
}
