import { status } from '@grpc/grpc-js';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ProxiedMethod } from './methods.js';

/** What the proxy relays, for Prometheus: as many series as there are methods and statuses, however many agents. */
export interface Meter {
  /** Of a call that has arrived; call what it answers once, with the status that the client got. */
  begin(method: ProxiedMethod): (code: status) => void;
}

export function createMeter(metrics: Registry): Meter {
  const registers = [metrics];
  const ended = new Counter({
    name: 'grpc_proxy_calls_total',
    help: 'Calls that the proxy has answered, whoever they were for',
    labelNames: ['method', 'status'] as const,
    registers,
  });
  const open = new Gauge({
    name: 'grpc_proxy_calls_open',
    help: 'Calls under way through the proxy',
    labelNames: ['kind'] as const,
    registers,
  });
  return {
    begin({ name, streams }) {
      const kind = streams ? 'stream' : 'unary';
      open.inc({ kind });
      return code => {
        open.dec({ kind });
        ended.inc({ method: name, status: status[code] ?? 'UNKNOWN' });
      };
    },
  };
}
