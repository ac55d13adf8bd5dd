import { bodyParser } from '@koa/bodyparser';
import { AppError } from '#src/domain/errors.js';
import type { ApiContext } from '../context.js';

const LIMIT = '1mb';
const parse = bodyParser({
  enableTypes: ['json'],
  jsonLimit: LIMIT,
  parsedMethods: ['POST', 'PUT', 'PATCH', 'DELETE'],
});

/**
 * The body as JSON; nothing, whatever its type says, is an empty object. Rejects with `unsupported-media-type`,
 * `body-too-large` or `invalid-json`.
 */
export async function readBody(ctx: ApiContext): Promise<unknown> {
  if (ctx.request.length === 0 || (ctx.request.length === undefined && !ctx.get('Transfer-Encoding')))
    return {};
  if (!ctx.is('application/json')) throw new AppError('unsupported-media-type');
  await parse(ctx, () => Promise.resolve());
  return ctx.request.body;
}
