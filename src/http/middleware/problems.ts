import type { Middleware } from 'koa';
import { AppError, ERRORS, type FieldError } from '#src/domain/errors.js';
import type { ApiContext, ApiState } from '../context.js';
import { RangeNotSatisfiable } from '../files/conditions.js';
import { rateLimitHeaders, RateLimited } from '../rateLimiter.js';

/** RFC 9457, plus `error` for clients that read a plain string. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  instance: string;
  request_id: string;
  errors?: FieldError[];
  error: string;
}

/** The only place where an error becomes an answer. What is not an AppError is a bug: logged whole, answered bare. */
export function problems(): Middleware<ApiState> {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      const known =
        error instanceof AppError
          ? error
          : (requestError(error) ?? new AppError('internal', { cause: error }));
      if (known.status >= 500)
        ctx.state.log[known.code === 'internal' ? 'error' : 'warn']({ err: known }, known.code);
      answer(ctx, known);
    }
  };
}

function answer(ctx: ApiContext, error: AppError): void {
  ctx.status = error.status;
  if (error.status === 401) ctx.set('WWW-Authenticate', challenge(error));
  if (error instanceof RangeNotSatisfiable) ctx.set('Content-Range', `bytes */${error.sizeBytes}`);
  if (error instanceof RateLimited) ctx.set(rateLimitHeaders(error.allowance));
  if (error.retryAfterS !== undefined) ctx.set('Retry-After', String(Math.ceil(error.retryAfterS)));
  ctx.set('Cache-Control', 'no-store');
  ctx.body = JSON.stringify(problemOf(error, ctx.path, ctx.state.requestId));
  ctx.type = 'application/problem+json';
}

export function problemOf(error: AppError, instance: string, requestId: string): Problem {
  const { title, status } = ERRORS[error.code];
  // The detail of a bug may name what is inside.
  const detail = error.code === 'internal' ? `${title}. Ask for help with the request id.` : error.detail;
  return {
    type: `urn:aymc:problem:${error.code}`,
    title,
    status,
    detail,
    code: error.code,
    instance,
    request_id: requestId,
    ...(error.errors && { errors: error.errors }),
    error: detail,
  };
}

/** RFC 6750 §3: a request without a token gets no error code, one with a bad token does. */
function challenge(error: AppError): string {
  const hadToken =
    error.code === 'token-expired' || (error.code === 'unauthenticated' && error.cause !== undefined);
  return hadToken ? 'Bearer realm="aymc", error="invalid_token"' : 'Bearer realm="aymc"';
}

/** Errors that Koa and the body parser throw about the request itself. */
function requestError(error: unknown): AppError | null {
  if (!(error instanceof Error) || !('status' in error)) return null;
  switch (error.status) {
    case 413:
      return new AppError('body-too-large', { cause: error });
    case 415:
      return new AppError('unsupported-media-type', { detail: error.message, cause: error });
    case 400:
      return new AppError(error instanceof SyntaxError ? 'invalid-json' : 'invalid-request', {
        cause: error,
      });
    default:
      return null;
  }
}
