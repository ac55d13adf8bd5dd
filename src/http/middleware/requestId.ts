import { randomUUID } from 'node:crypto';
import type { Middleware } from 'koa';
import type { Logger } from '#src/observability/logger.js';
import type { ApiState } from '../context.js';

const ACCEPTED = /^[\w.:-]{1,128}$/;

/** Takes the caller's id or makes one, answers with it, and gives the request a logger that says it on every line. */
export function requestId(logger: Logger): Middleware<ApiState> {
  return async (ctx, next) => {
    const given = ctx.get('X-Request-Id');
    ctx.state.requestId = ACCEPTED.test(given) ? given : randomUUID();
    ctx.state.log = logger.child({ requestId: ctx.state.requestId });
    ctx.set('X-Request-Id', ctx.state.requestId);
    await next();
  };
}
