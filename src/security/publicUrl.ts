import { lookup } from 'node:dns/promises';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { AppError } from '#src/domain/errors.js';

/** Loopback, private, link-local (cloud metadata), shared, documentation, multicast and reserved. RFC 6890. */
const PRIVATE = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  PRIVATE.addSubnet(net, bits, 'ipv4');
}
/** Only 2000::/3 is given out; of that, what tunnels or documents is not for us. */
const GLOBAL_V6 = new BlockList();
GLOBAL_V6.addSubnet('2000::', 3, 'ipv6');
for (const [net, bits] of [
  ['2001::', 32],
  ['2001:db8::', 32],
  ['2002::', 16],
] as const) {
  PRIVATE.addSubnet(net, bits, 'ipv6');
}

const LOOKUP_TIMEOUT_MS = 3_000;

export interface UrlRule {
  /** ALLOW_PRIVATE_URLS: http and private addresses too, as in development. */
  allowPrivate: boolean;
  /** All addresses of a host name; the system's resolver unless a test scripts another. */
  resolve?: (hostname: string) => Promise<string[]>;
}

/**
 * A URL that a user gave and that one of our machines will fetch. Rejects with `invalid-request` (not https, carries
 * credentials) or `private-address` (it, or any address of its name, lies in a network that is not the internet).
 * A name that can't be resolved now passes: the download itself will say so, and whoever downloads looks again.
 */
export async function assertFetchable(text: string, rule: UrlRule): Promise<void> {
  const url = parseFetchable(text, rule);
  if (!rule.allowPrivate) await resolvePublic(url, rule);
}

/**
 * The same, at the moment of fetching, with the addresses that were looked at: connect to one of these and resolve the
 * name no more, for it may mean something else by then. Empty when it can't be resolved.
 */
export async function resolveFetchable(
  text: string,
  rule: UrlRule,
): Promise<{ url: URL; addresses: string[] }> {
  const url = parseFetchable(text, rule);
  return { url, addresses: await resolvePublic(url, rule) };
}

/** For a request that is to reach one of these, whatever its host's name means by now. */
export function lookupOf(addresses: readonly string[]): LookupFunction {
  const found = addresses.map(address => ({ address, family: isIP(address) }));
  return (_hostname, { all }, callback) => {
    if (all) callback(null, found);
    else callback(null, found[0]?.address ?? '', found[0]?.family);
  };
}

function parseFetchable(text: string, rule: UrlRule): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const schemes = rule.allowPrivate ? ['https:', 'http:'] : ['https:'];
  if (!url || !schemes.includes(url.protocol)) {
    throw new AppError('invalid-request', {
      detail: rule.allowPrivate ? 'The URL must be http or https' : 'The URL must be https',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new AppError('invalid-request', { detail: 'The URL must not carry credentials' });
  }
  return url;
}

async function resolvePublic(url: URL, rule: UrlRule): Promise<string[]> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const addresses = isIP(host) ? [host] : await resolveQuietly(host, rule.resolve ?? systemResolve);
  if (!rule.allowPrivate && addresses.some(isPrivateAddress)) throw new AppError('private-address');
  return addresses;
}

export function isPrivateAddress(address: string): boolean {
  if (isIP(address) !== 6) return PRIVATE.check(address, 'ipv4');
  const mapped = /^::ffff:(?:0:)?(\d+\.\d+\.\d+\.\d+|[0-9a-f]{1,4}:[0-9a-f]{1,4})$/i.exec(address)?.[1];
  if (mapped !== undefined) return PRIVATE.check(dotted(mapped), 'ipv4');
  return !GLOBAL_V6.check(address, 'ipv6') || PRIVATE.check(address, 'ipv6');
}

/** The last 32 bits of a mapped address, which `URL` writes as two hex groups. */
function dotted(mapped: string): string {
  if (mapped.includes('.')) return mapped;
  const [high = 0, low = 0] = mapped.split(':').map(group => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

async function systemResolve(hostname: string): Promise<string[]> {
  const found = await lookup(hostname, { all: true });
  return found.map(({ address }) => address);
}

async function resolveQuietly(host: string, resolve: (host: string) => Promise<string[]>): Promise<string[]> {
  let timer: NodeJS.Timeout | undefined;
  const giveUp = new Promise<string[]>(done => {
    timer = setTimeout(() => done([]), LOOKUP_TIMEOUT_MS);
  });
  try {
    return await Promise.race([resolve(host).catch(() => []), giveUp]);
  } finally {
    clearTimeout(timer);
  }
}
