import type { Middleware } from 'koa';
import type { Router } from '@koa/router';
import { AppError } from '#src/domain/errors.js';
import type { ApiState } from '../context.js';

/** What no route answered: OPTIONS and 405 say what the path can do, all else is unknown. */
export function fallback(router: Router<ApiState>): Middleware<ApiState> {
  return ctx => {
    const layers = router.match(ctx.path, ctx.method).path;
    const fixed = layers.filter(layer => layer.path === ctx.path);
    const methods = (fixed.length > 0 ? fixed : layers).flatMap(layer => layer.methods);
    if (methods.length === 0) throw new AppError('route-not-found', { detail: `There is no ${ctx.path}` });
    ctx.set('Allow', [...new Set([...methods, 'OPTIONS'])].join(', '));
    if (ctx.method !== 'OPTIONS') {
      throw new AppError('method-not-allowed', { detail: `${ctx.method} is not allowed here` });
    }
    ctx.status = 204;
  };
}
