import { Histogram, type Registry } from 'prom-client';
import type { Middleware } from 'koa';
import type { ApiState } from '../context.js';

/** From a cached read to a download of the slowest agent. */
const SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Asked every few seconds by machines: worth a line only to those who look for it. */
const QUIET = new Set(['/healthz', '/readyz', '/metrics']);

/** One line and one observation a request, when its answer has been written or its client has gone. */
export function accessLog(metrics: Registry): Middleware<ApiState> {
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the request line to the end of the answer',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: SECONDS,
    registers: [metrics],
  });
  return async (ctx, next) => {
    const began = performance.now();
    ctx.res.once('close', () => {
      const ms = performance.now() - began;
      const { method, status, path } = ctx;
      const route = ctx.state.route ?? 'none';
      duration.observe({ method, route, status: String(status) }, ms / 1000);
      const line = { method, path, status, ms: Math.round(ms * 10) / 10, userId: ctx.state.userId };
      ctx.state.log[QUIET.has(route) ? 'debug' : 'info'](line, 'answered');
    });
    await next();
  };
}
