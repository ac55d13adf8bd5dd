import { Metadata } from '@grpc/grpc-js';

/** Of one hop: HTTP's own, what gRPC itself negotiates, and what was meant for us. */
const OF_ONE_HOP = new Set([
  'authorization',
  'agent-id',
  'server-id',
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'date',
  'expect',
  'forwarded',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'server',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'via',
]);
const OF_GRPC =
  /^grpc-(?:accept-encoding|encoding|message|status|timeout|retry-pushback-ms|previous-rpc-attempts)$/;

/** What goes on to the other side: everything else, `traceparent` and the caller's own keys among it. */
export function passedOn(metadata: Metadata): Metadata {
  const passed = new Metadata();
  for (const key of Object.keys(metadata.getMap())) {
    if (OF_ONE_HOP.has(key) || OF_GRPC.test(key)) continue;
    for (const value of metadata.get(key)) passed.add(key, value);
  }
  return passed;
}

/** The one value of a key; undefined when there is none or more than one. */
export function textOf(metadata: Metadata, key: string): string | undefined {
  const [value, ...more] = metadata.get(key);
  return typeof value === 'string' && more.length === 0 ? value : undefined;
}
