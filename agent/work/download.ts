import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm, stat, truncate } from 'node:fs/promises';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { AgentError, errnoOf, isMissing } from '../errors.js';
import { isJar } from '../jar.js';
import { diskUse } from '../system.js';
import { AGENT_VERSION } from '../version.js';
import { assertDiallable, guardedLookup, type RefusesAddress } from './address.js';

export interface Checksum {
  readonly algorithm: 'sha512' | 'sha256' | 'sha1' | 'md5';
  /** Lower-case hex. */
  readonly hex: string;
}

export interface Download {
  readonly url: string;
  /** Undefined where nobody names a hash: then nothing is resumed, as what is there may be of another content. */
  readonly checksum: Checksum | undefined;
  /** What it must be; `jar` when absent. Of a gzip only the first bytes are looked at: its checksum tells the rest. */
  readonly content?: 'jar' | 'gzip';
  /** 0 = unknown. */
  readonly sizeBytes: number;
  /** Whom the host may write to about us, in the User-Agent. */
  readonly contact?: string;
  /** Where the bytes arrive. Kept when we are interrupted, so that the next try goes on; gone after a wrong content. */
  readonly partPath: string;
  /** Asked about every address before it is dialled, those of redirects too. */
  readonly refuses: RefusesAddress;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

/** For bodies whose size nobody promised. */
const UNKNOWN_SIZE_MAX = 2 * 1024 * 1024 * 1024;
const STALL_MS = 30_000;
const REDIRECTS_MAX = 5;
/** Broken connections in a row that brought nothing; one that brought bytes starts the count anew. */
const FRUITLESS_TRIES_MAX = 4;
const CONTACT = /^[\x20-\x7e]{1,200}$/;
const MAGIC = { jar: Buffer.from('PK\x03\x04'), gzip: Buffer.from([0x1f, 0x8b]) };

/** The connection broke or stalled in the middle: what has arrived is good, and Range gets the rest. */
class BrokenOff extends Error {}

/**
 * Fetches a file into `partPath` and verifies it: size, checksum, that it is what it should be. Resumes by Range what an
 * earlier try left there. Throws a typed error (upstream-failed, upstream-refused, upstream-not-a-jar or java-unusable,
 * checksum-mismatch, artifact-too-large, private-address, disk-full), or the signal's reason when aborted.
 */
export async function downloadFile(download: Download): Promise<void> {
  let fruitless = 0;
  let restarted = false;
  for (;;) {
    const before = await sizeOf(download);
    try {
      await fetchRest(download, before);
      await verify(download);
      return;
    } catch (error) {
      download.signal.throwIfAborted();
      if (error instanceof BrokenOff) {
        fruitless = (await sizeOf(download)) > before ? 0 : fruitless + 1;
        if (fruitless >= FRUITLESS_TRIES_MAX) {
          throw new AgentError('upstream-failed', `${shown(download.url)}: ${error.message}`, {
            cause: error,
          });
        }
        await pause(250 * 2 ** fruitless, undefined, { signal: download.signal });
        continue;
      }
      // A resumed file may have been begun by another content under the same name.
      const glued =
        error instanceof AgentError && error.code === 'checksum-mismatch' && before > 0 && !restarted;
      if (keepsNothing(error)) await rm(download.partPath, { force: true });
      if (!glued) throw error;
      restarted = true;
    }
  }
}

/** Wrong content must not be resumed, and a full disk needs the room. */
function keepsNothing(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  return [
    'checksum-mismatch',
    'upstream-not-a-jar',
    'java-unusable',
    'artifact-too-large',
    'disk-full',
  ].includes(error.code);
}

async function sizeOf({ partPath, checksum }: Download): Promise<number> {
  if (checksum === undefined) return 0;
  try {
    return (await stat(partPath)).size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}

async function fetchRest(download: Download, have: number): Promise<void> {
  if (have > 0 && have === download.sizeBytes) return;
  const response = await get(download, have);
  try {
    const from = await acceptResponse(download, response, have);
    if (from === undefined) return;
    await receive(download, response, from);
  } finally {
    response.destroy();
  }
}

/** The offset at which the body begins; undefined when there is no more to get. */
async function acceptResponse(
  download: Download,
  response: IncomingMessage,
  have: number,
): Promise<number | undefined> {
  const status = response.statusCode ?? 0;
  const named = `${shown(download.url)} answered ${status}`;
  if (status === 416 && have > 0) return undefined; // all there, or too much: the checksum tells
  if (status >= 500 || status === 429 || status === 408) throw new AgentError('upstream-failed', named);
  if (status !== 200 && status !== 206) throw new AgentError('upstream-refused', named);
  if (/^text\/html\b/i.test(response.headers['content-type'] ?? '')) {
    throw wrongContent(download, 'sent a web page');
  }
  const resumed = status === 206 && response.headers['content-range']?.startsWith(`bytes ${have}-`) === true;
  const from = resumed ? have : 0;
  const length = Number(response.headers['content-length'] ?? NaN);
  if (Number.isFinite(length)) {
    assertFits(download, from + length);
    const { freeBytes } = await diskUse(dirname(download.partPath));
    if (length > freeBytes)
      throw new AgentError('disk-full', `${length} bytes to download, ${freeBytes} bytes free`);
  }
  return from;
}

async function receive(download: Download, response: IncomingMessage, from: number): Promise<void> {
  const announced = Number(response.headers['content-length'] ?? NaN);
  const total = download.sizeBytes || (Number.isFinite(announced) ? from + announced : 0);
  if (from === 0) await truncateIfThere(download.partPath);
  const file = await open(download.partPath, 'a', 0o600);
  let done = from;
  try {
    for await (const chunk of bodyOf(response)) {
      if (done === 0) assertLooksRight(download, chunk);
      done += chunk.length;
      assertFits(download, done);
      await file.appendFile(chunk);
      download.onProgress(done, total);
    }
    await file.datasync();
  } catch (error) {
    throw nameFault(error);
  } finally {
    await file.close();
  }
  if (total > 0 && done < total) throw new BrokenOff(`the connection ended after ${done} of ${total} bytes`);
}

async function truncateIfThere(path: string): Promise<void> {
  try {
    await truncate(path, 0);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Only typed byte chunks; the stall timer destroys the response with an error that surfaces here. */
async function* bodyOf(response: IncomingMessage): AsyncGenerator<Buffer> {
  response.setTimeout(STALL_MS, () =>
    response.destroy(new BrokenOff(`nothing arrived for ${STALL_MS / 1000} s`)),
  );
  for await (const chunk of response) if (Buffer.isBuffer(chunk)) yield chunk;
}

function nameFault(error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === 'ENOSPC' || errno === 'EDQUOT')
    return new AgentError('disk-full', 'the disk is full', { cause: error });
  if (error instanceof AgentError || error instanceof BrokenOff) return error;
  if (
    errno !== undefined &&
    /^(ECONN|EPIPE|ETIMEDOUT|ENET|EHOST|ERR_STREAM_PREMATURE_CLOSE|HPE_)/.test(errno)
  ) {
    return new BrokenOff(`the connection broke (${errno})`, { cause: error });
  }
  return error;
}

function assertFits(download: Download, bytes: number): void {
  const limit = download.sizeBytes || UNKNOWN_SIZE_MAX;
  if (bytes > limit)
    throw new AgentError('artifact-too-large', `${shown(download.url)} is larger than ${limit} bytes`);
}

function assertLooksRight(download: Download, firstBytes: Buffer): void {
  const { content = 'jar' } = download;
  const magic = firstBytes.subarray(0, MAGIC[content].length);
  if (!MAGIC[content].subarray(0, magic.length).equals(magic))
    throw wrongContent(download, `did not send a ${content}`);
}

function wrongContent({ url, content = 'jar' }: Download, what: string): AgentError {
  return new AgentError(content === 'jar' ? 'upstream-not-a-jar' : 'java-unusable', `${shown(url)} ${what}`);
}

async function verify(download: Download): Promise<void> {
  const { checksum, content = 'jar', partPath, url } = download;
  if (checksum) {
    const hex = await hashFile(partPath, checksum.algorithm);
    if (hex !== checksum.hex) {
      const detail = `${shown(url)} has ${checksum.algorithm} ${hex}, expected ${checksum.hex}`;
      throw new AgentError('checksum-mismatch', detail);
    }
  }
  if (content === 'jar' && !(await isJar(partPath))) throw wrongContent(download, 'did not send a whole jar');
}

export async function hashFile(path: string, algorithm: Checksum['algorithm']): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path, { highWaterMark: 256 * 1024 }), hash);
  return hash.digest('hex');
}

/** URLs may carry signatures: only host and path are ever shown or logged. */
export function shown(url: string): string {
  try {
    const { host, pathname } = new URL(url);
    return `${host}${pathname}`;
  } catch {
    return 'the URL';
  }
}

async function get({ url, contact, refuses, signal }: Download, from: number): Promise<IncomingMessage> {
  const userAgent = userAgentOf(contact);
  let target = parseHttpUrl(url);
  for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
    const response = await getOnce(target, { from, userAgent, refuses, signal });
    const { location } = response.headers;
    const redirected = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0) && location !== undefined;
    if (!redirected) return response;
    response.destroy();
    const next = parseHttpUrl(location, target);
    if (target.protocol === 'https:' && next.protocol !== 'https:') {
      throw new AgentError('upstream-refused', `${shown(url)} redirects from https to http`);
    }
    target = next;
  }
  throw new AgentError('upstream-refused', `${shown(url)} redirects more than ${REDIRECTS_MAX} times`);
}

function parseHttpUrl(url: string, base?: URL): URL {
  try {
    const parsed = new URL(url, base);
    if (parsed.protocol === 'http:' || parsed.protocol === 'https:') return parsed;
  } catch {
    // told below
  }
  throw new AgentError('invalid-request', 'the download URL must be http or https');
}

/** PaperMC asks whoever downloads to name somebody. Throws `invalid-request` for what no header takes. */
function userAgentOf(contact = ''): string {
  const name = `aymc-agent/${AGENT_VERSION}`;
  if (contact === '') return name;
  if (CONTACT.test(contact)) return `${name} (${contact})`;
  throw new AgentError('invalid-request', 'contact must be 1 to 200 characters of printable ASCII');
}

interface Fetch {
  from: number;
  userAgent: string;
  refuses: RefusesAddress;
  signal: AbortSignal;
}

async function getOnce(target: URL, { from, userAgent, refuses, signal }: Fetch): Promise<IncomingMessage> {
  assertDiallable(target.hostname, refuses);
  const request = target.protocol === 'https:' ? requestHttps : requestHttp;
  const headers: Record<string, string> = { 'user-agent': userAgent, 'accept-encoding': 'identity' };
  if (from > 0) headers['range'] = `bytes=${from}-`;
  return new Promise((resolve, reject) => {
    const options = { headers, signal, timeout: STALL_MS, lookup: guardedLookup(refuses) };
    const call = request(target, options, resolve);
    call.on('timeout', () => call.destroy(new BrokenOff(`no answer within ${STALL_MS / 1000} s`)));
    call.on('error', error => {
      if (signal.aborted || error instanceof BrokenOff || error instanceof AgentError) return reject(error);
      const fault = errnoOf(error) ?? error.message;
      reject(new BrokenOff(`cannot reach it (${fault})`, { cause: error }));
    });
    call.end();
  });
}
