import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { AgentError } from '../errors.js';

/**
 * Loopback, private, link-local (cloud metadata), shared, documentation, multicast and reserved. RFC 6890. The control
 * plane has the same list for the URLs that it is given; a test holds the two together.
 */
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

/** Which addresses must not be dialled for a URL that somebody gave us. */
export type RefusesAddress = (address: string) => boolean;

/** ALLOW_PRIVATE_URLS decides. */
export function addressRule(allowPrivate: boolean): RefusesAddress {
  return allowPrivate ? () => false : isPrivateAddress;
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

/** For a host that is an address itself: such a one is dialled without any lookup. Throws `private-address`. */
export function assertDiallable(hostname: string, refuses: RefusesAddress): void {
  const host = hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) && refuses(host)) throw privateAddress(host);
}

type AllAddresses = (
  hostname: string,
  options: { all: true; family?: number; hints?: number },
  done: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * A lookup for `connect`, which dials exactly what this answers: a name that is public when it is checked and private
 * when it is dialled (DNS rebinding) does not exist here, as both are one lookup. One refused address refuses the name.
 */
export function guardedLookup(refuses: RefusesAddress, resolve: AllAddresses = systemLookup): LookupFunction {
  return (hostname, { family, hints, all }, done) => {
    const wanted = { ...(typeof family === 'number' && { family }), ...(hints !== undefined && { hints }) };
    resolve(hostname, { ...wanted, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error || !first) return done(error ?? new Error(`${hostname} has no address`), '', 0);
      if (addresses.some(({ address }) => refuses(address))) return done(privateAddress(hostname), '', 0);
      if (all) done(null, addresses);
      else done(null, first.address, first.family);
    });
  };
}

function privateAddress(host: string): AgentError {
  return new AgentError(
    'private-address',
    `${host} is no public address, and this agent has no ALLOW_PRIVATE_URLS`,
  );
}
