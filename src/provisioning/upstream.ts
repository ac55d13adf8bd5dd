import { createHash } from 'node:crypto';
import { request as requestPlain, type IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';
import type { AnySchema } from 'joi';
import { AppError } from '#src/domain/errors.js';
import { lookupOf, resolveFetchable, type UrlRule } from '#src/security/publicUrl.js';

export interface UpstreamOptions {
  /** What people call it: `Mojang`. */
  name: string;
  /** The operator's word, so it may be anywhere. Without a slash at its end. */
  base: string;
  /** For every other host that the upstream sends us to. */
  urls: UrlRule;
  /** Names this software and whom to write to; PaperMC turns others away. */
  userAgent: string;
  /** For a whole answer, its redirects included. */
  timeoutMs?: number;
  maxBytes?: number;
  /** How often it may send us on; 3 unless given. */
  redirects?: number;
}

interface FetchOptions {
  signal?: AbortSignal | undefined;
  /** What the answer must hash to, where it was announced. */
  sha1?: string;
  /** Statuses that say "no such thing"; 404 alone unless given. */
  absent?: readonly number[];
}

const TIMEOUT_MS = 15_000;
/** Several times the largest answer of today. */
const BYTES_MAX = 8 * 1024 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
const REDIRECTS_MAX = 3;
const RETRY_AFTER_MAX_S = 3_600;
const NOT_FOUND = [404];

/**
 * What is asked of one upstream: small documents, each within a time and a size, in the shape that is expected. All
 * methods answer null when it has no such thing, and reject with `upstream-failed` for whatever else it answers: a
 * page of a proxy, another shape, too much, nothing in time. They don't retry, and change nothing.
 */
export class Upstream {
  constructor(private readonly options: UpstreamOptions) {}

  /** Below the base; the parts may be anyone's words. */
  url(...parts: readonly string[]): string {
    return [this.options.base, ...parts.map(encodeURIComponent)].join('/');
  }

  /** As its schema has it; keys that the schema does not name are left out. */
  async json<T>(url: string, schema: AnySchema<T>, options: FetchOptions = {}): Promise<T | null> {
    const text = await this.text(url, options);
    if (text === null) return null;
    const checked = schema.validate(this.parse(text), { convert: false, stripUnknown: true });
    if (!checked.error) return checked.value;
    throw this.failed(`sent JSON of another shape: ${checked.error.message}`, checked.error);
  }

  async text(url: string, { signal, sha1, absent = NOT_FOUND }: FetchOptions = {}): Promise<string | null> {
    const { timeoutMs = TIMEOUT_MS } = this.options;
    const time = AbortSignal.timeout(timeoutMs);
    const limit = signal ? AbortSignal.any([time, signal]) : time;
    try {
      const body = await this.fetch(url, absent, limit);
      if (body === null) return null;
      if (sha1 !== undefined && createHash('sha1').update(body).digest('hex') !== sha1) {
        throw this.failed('sent something else than it announced');
      }
      return body.toString('utf8');
    } catch (error) {
      if (error instanceof AppError) throw error;
      // Not the system's own words, which tell of the network around us.
      throw this.failed(time.aborted ? 'did not answer in time' : 'could not be reached', error);
    }
  }

  /** An error of this upstream; `what` follows its name. */
  failed(what: string, cause?: unknown, retryAfterS?: number): AppError {
    return new AppError('upstream-failed', {
      detail: `${this.options.name} ${what}`,
      cause,
      ...(retryAfterS !== undefined && { retryAfterS }),
    });
  }

  private async fetch(
    target: string,
    absent: readonly number[],
    signal: AbortSignal,
  ): Promise<Buffer | null> {
    const { redirects = REDIRECTS_MAX } = this.options;
    let url = target;
    for (let hop = 0; hop <= redirects; hop++) {
      const answer = await this.get(url, signal);
      const { statusCode: status = 0, headers } = answer;
      if (status === 200) return this.read(answer);
      answer.destroy();
      if (absent.includes(status)) return null;
      if (status < 300 || status >= 400 || headers.location === undefined) {
        throw this.failed(`answered ${status}`, undefined, secondsOf(headers['retry-after']));
      }
      if (!URL.canParse(headers.location, url)) throw this.failed('sent us nowhere');
      url = new URL(headers.location, url).href;
    }
    throw this.failed('sent us from one address to the next');
  }

  private async get(target: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { base, userAgent } = this.options;
    const isOurs = URL.canParse(target) && new URL(target).origin === new URL(base).origin;
    const { url, lookup } = isOurs ? { url: new URL(target) } : await this.elsewhere(target);
    const request = url.protocol === 'https:' ? requestTls : requestPlain;
    return new Promise((resolve, reject) => {
      const call = request(url, {
        agent: false,
        maxHeaderSize: HEADER_BYTES_MAX,
        signal,
        headers: { Accept: '*/*', 'Accept-Encoding': 'identity', 'User-Agent': userAgent },
        ...(lookup && { lookup }),
      });
      call.once('response', resolve);
      // It goes on failing when it is destroyed with its answer half read.
      call.on('error', reject);
      call.end();
    });
  }

  /** Another host, by the upstream's word and not the operator's: never one inside, whatever its name means by then. */
  private async elsewhere(target: string) {
    const { url, addresses } = await resolveFetchable(target, this.options.urls).catch((error: unknown) => {
      throw this.failed('sent us where nothing may be fetched', error);
    });
    if (addresses.length === 0) throw this.failed('sent us to a host that is not known');
    return { url, lookup: lookupOf(addresses) };
  }

  private async read(answer: IncomingMessage): Promise<Buffer> {
    const { maxBytes = BYTES_MAX } = this.options;
    const chunks: Buffer[] = [];
    let size = 0;
    const arriving: AsyncIterable<Buffer> = answer;
    for await (const chunk of arriving) {
      size += chunk.length;
      if (size > maxBytes) throw this.failed(`sent more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  private parse(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw this.failed('sent no JSON', error);
    }
  }
}

/** Of a Retry-After in seconds; its other form, a date, is not used by those we ask. */
function secondsOf(retryAfter: string | undefined): number | undefined {
  if (retryAfter === undefined || !/^\d{1,9}$/.test(retryAfter)) return undefined;
  return Math.min(Number(retryAfter), RETRY_AFTER_MAX_S);
}
