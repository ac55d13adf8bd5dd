import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { AppError } from '#src/domain/errors.js';
import { lookupOf, resolveFetchable, type UrlRule } from '#src/security/publicUrl.js';

const TIMEOUT_MS = 10_000;
const HEADER_BYTES_MAX = 16 * 1024;

/**
 * Posts JSON to a user's URL and answers the status; the body of the answer is not read, and no redirect is followed.
 * The connection goes to an address that was just looked at. Rejects with `private-address`, `invalid-request` and,
 * where nobody answers in time, `webhook-failed`.
 */
export async function postJson(
  target: string,
  body: string,
  headers: Readonly<Record<string, string>>,
  rule: UrlRule,
  timeoutMs = TIMEOUT_MS,
): Promise<number> {
  const signal = AbortSignal.timeout(timeoutMs);
  const { url, addresses } = await resolveFetchable(target, rule);
  if (addresses.length === 0) throw new AppError('webhook-failed', { detail: 'Its host is not known' });
  const request = url.protocol === 'https:' ? requestTls : requestPlain;
  try {
    return await new Promise<number>((resolve, reject) => {
      const call = request(url, {
        method: 'POST',
        agent: false,
        lookup: lookupOf(addresses),
        maxHeaderSize: HEADER_BYTES_MAX,
        signal,
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
          'User-Agent': 'AYMC',
          ...headers,
        },
      });
      call.once('response', answer => {
        resolve(answer.statusCode ?? 0);
        call.destroy();
      });
      // It goes on failing when it is destroyed with its answer half read.
      call.on('error', reject);
      call.end(body);
    });
  } catch (error) {
    // Not the system's own words, which tell of the network around us.
    throw new AppError('webhook-failed', { detail: 'It could not be reached', cause: error });
  }
}
