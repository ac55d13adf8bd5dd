import Joi, { type ObjectSchema, type Schema } from 'joi';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import type { ScopeNeed } from '#src/domain/scopes.js';
import type { Logger } from '#src/observability/logger.js';
import { BASE, type ApiContext } from './context.js';
import type { Api } from './deps.js';
import { readBody } from './middleware/body.js';

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Lets a request pass or rejects it, and hands the handler what it found out on the way. Every route has one. */
export interface Gate<Admission> {
  /** `anyone`, `signed-in`, `admin`, `server:<action>`: what the docs and the route × role table show. */
  readonly rule: string;
  /**
   * What an API key must have been made for. `session`: no key is enough; `by-operation`: what asking for the operation
   * takes; null: nobody asks who it is.
   */
  readonly scope: ScopeNeed | 'by-operation' | null;
  readonly errors: readonly ErrorCode[];
  admit(ctx: ApiContext, api: Api): Promise<Admission>;
}

/** What a handler sees of a request: parsed input and no transport. */
export interface RouteRequest<P, Q, B> {
  params: P;
  query: Q;
  body: B;
  requestId: string;
  /** Only where the route declares `idempotent`. */
  idempotencyKey: string | undefined;
  /** As asked for: path and query, for links. */
  url: { path: string; query: URLSearchParams };
  ip: string;
  userAgent: string;
  log: Logger;
  /** Aborts when the client has gone. */
  signal: AbortSignal;
}

export interface Reply<R> {
  body: R;
  headers?: Record<string, string>;
  /** Where it differs from the route's own; one of its `otherStatuses`. */
  status?: number;
}

interface Success {
  status: 200 | 201 | 202 | 204 | 302;
  description?: string;
  /** Absent for 204 and for what is not JSON. */
  schema?: Schema;
  contentType?: string;
  /** Header → what it says. */
  headers?: Record<string, string>;
  /** Answers of the same shape under another status: a probe that says no. */
  otherStatuses?: Record<number, string>;
}

interface RouteDocs {
  /** Verb and noun; the method's name in generated clients. */
  operationId: string;
  method: Method;
  /** Koa's notation, below `/api/v1` unless `outsideBase`. */
  path: string;
  outsideBase?: boolean;
  tag: string;
  summary: string;
  description?: string;
  success: Success;
  /** Beside those that its gate and its input imply. */
  errors?: readonly ErrorCode[];
  /** It starts an operation, so a repeated Idempotency-Key answers the same one. */
  idempotent?: boolean;
}

interface RouteSpec<P, Q, B, R, A> extends RouteDocs {
  auth: Gate<A>;
  params?: ObjectSchema<P>;
  query?: ObjectSchema<Q>;
  body?: ObjectSchema<B>;
  handler(request: RouteRequest<P, Q, B> & A, api: Api): Promise<Reply<R>> | Reply<R>;
}

/** A route as the router and the docs use it: what was typed about it has been closed over. */
export interface Route extends Required<Omit<RouteDocs, 'outsideBase' | 'description'>> {
  description: string | undefined;
  rule: string;
  scope: Gate<unknown>['scope'];
  params: Schema | undefined;
  query: Schema | undefined;
  body: Schema | undefined;
  serve(ctx: ApiContext, api: Api): Promise<void>;
}

/** Where a route names no schema: takes `{}` alone. Typed so that the handler sees an unknown there. */
const NOTHING = Joi.object<never>().pattern(Joi.string(), Joi.forbidden());
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * One route: gate → params → query → body → handler → answer. The same joi schemas parse the input (once), document it
 * and check the answer. Unknown keys are refused everywhere.
 */
export function defineRoute<P, Q, B, R, A>(spec: RouteSpec<P, Q, B, R, A>): Route {
  const { auth, params, query, body, success } = spec;
  const takesBody = spec.method === 'POST' || spec.method === 'PUT';

  async function serve(ctx: ApiContext, api: Api): Promise<void> {
    const admission = await auth.admit(ctx, api);
    const request: RouteRequest<P, Q, B> = {
      params: parse(params ?? NOTHING, ctx.params, 'params'),
      query: parse(query ?? NOTHING, ctx.query, 'query'),
      body: parse(body ?? NOTHING, takesBody ? await readBody(ctx) : {}, 'body'),
      idempotencyKey: spec.idempotent ? readIdempotencyKey(ctx) : undefined,
      requestId: ctx.state.requestId,
      url: { path: ctx.path, query: new URLSearchParams(ctx.querystring) },
      ip: ctx.ip,
      userAgent: ctx.get('User-Agent').slice(0, 255),
      log: ctx.state.log,
      signal: whileConnected(ctx),
    };
    const reply = await spec.handler({ ...request, ...admission }, api);
    if (api.validateResponses) assertDocumented(success, reply);
    send(ctx, success, reply);
  }

  return {
    operationId: spec.operationId,
    method: spec.method,
    path: spec.outsideBase ? spec.path : BASE + spec.path,
    tag: spec.tag,
    summary: spec.summary,
    description: spec.description,
    success,
    errors: [
      ...new Set([...auth.errors, ...inputErrors(takesBody, spec.idempotent), ...(spec.errors ?? [])]),
    ],
    idempotent: spec.idempotent ?? false,
    rule: auth.rule,
    scope: auth.scope,
    params,
    query,
    body,
    serve,
  };
}

function inputErrors(takesBody: boolean, idempotent = false): ErrorCode[] {
  return [
    'invalid-request',
    ...(takesBody ? (['invalid-json', 'body-too-large', 'unsupported-media-type'] as const) : []),
    ...(idempotent ? (['idempotency-key-reused'] as const) : []),
    'database-unavailable',
    'internal',
  ];
}

function parse<T>(schema: ObjectSchema<T>, input: unknown, where: 'params' | 'query' | 'body'): T {
  const parsed = schema.validate(input ?? {}, { abortEarly: false, errors: { wrap: { label: false } } });
  if (!parsed.error) return parsed.value;
  const errors = parsed.error.details.map(({ path, message }) => ({
    path: [where, ...path].join('.'),
    message,
  }));
  throw new AppError('invalid-request', { detail: errors[0]?.message ?? parsed.error.message, errors });
}

function readIdempotencyKey(ctx: ApiContext): string | undefined {
  const key = ctx.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && IDEMPOTENCY_KEY.test(key)) return key;
  const message = 'Idempotency-Key must be 1 to 255 printable ASCII characters without spaces';
  throw new AppError('invalid-request', {
    detail: message,
    errors: [{ path: 'headers.idempotency-key', message }],
  });
}

function whileConnected(ctx: ApiContext): AbortSignal {
  const gone = new AbortController();
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) gone.abort();
  });
  return gone.signal;
}

function send(ctx: ApiContext, success: Success, { body, headers, status }: Reply<unknown>): void {
  ctx.set('Cache-Control', 'no-store');
  if (success.contentType !== undefined) ctx.set('Content-Type', success.contentType);
  if (headers) ctx.set(headers);
  ctx.status = status ?? success.status;
  if (ctx.status !== 204) ctx.body = body;
}

/** An answer that its own documentation does not know is a bug of ours, found here before a client finds it. */
function assertDocumented(success: Success, { body, status }: Reply<unknown>): void {
  if (
    status !== undefined &&
    status !== success.status &&
    !Object.hasOwn(success.otherStatuses ?? {}, status)
  ) {
    throw new AppError('internal', { cause: new Error(`${status} is not a documented status`) });
  }
  if (!success.schema) return;
  const { error } = success.schema.validate(body, { convert: false, abortEarly: false });
  if (error) throw new AppError('internal', { cause: error });
}
