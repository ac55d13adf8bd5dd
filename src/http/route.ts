import { Readable } from 'node:stream';
import Joi, { type ObjectSchema, type Schema } from 'joi';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import type { ScopeNeed } from '#src/domain/scopes.js';
import type { Logger } from '#src/observability/logger.js';
import { jsonBody, NOTHING, type Body } from './bodies.js';
import { BASE, type ApiContext } from './context.js';
import type { Api } from './deps.js';
import { isObject } from './jsonSchema.js';
import { invalidField, parse } from './parse.js';

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
export interface RouteRequest<P, Q, B, H = unknown> {
  params: P;
  query: Q;
  /** Those that the route names. */
  headers: H;
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
  /** A stream of bytes is sent at the client's pace, and destroyed when the client goes or stops taking. */
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
  /** What it may be instead, said by the reply's own Content-Type; without a schema. */
  otherContentType?: string;
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

interface RouteSpec<P, Q, B, H, R, A> extends RouteDocs {
  auth: Gate<A>;
  params?: ObjectSchema<P>;
  query?: ObjectSchema<Q>;
  /** Its keys are the names of the headers; all others pass by. */
  headers?: ObjectSchema<H>;
  /** A schema takes JSON. */
  body?: ObjectSchema<B> | Body<B>;
  handler(request: RouteRequest<P, Q, B, H> & A, api: Api): Promise<Reply<R>> | Reply<R>;
}

/** A route as the router and the docs use it: what was typed about it has been closed over. */
export interface Route extends Required<Omit<RouteDocs, 'outsideBase' | 'description'>> {
  description: string | undefined;
  rule: string;
  scope: Gate<unknown>['scope'];
  params: Schema | undefined;
  query: Schema | undefined;
  headers: Schema | undefined;
  body: Omit<Body<unknown>, 'read'> | undefined;
  serve(ctx: ApiContext, api: Api): Promise<void>;
}

/** For a client to take the next bytes of an answer that is a stream. */
const STALLED_MS = 60_000;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * One route: gate → params → query → body → handler → answer. The same joi schemas parse the input (once), document it
 * and check the answer. Unknown keys are refused everywhere.
 */
export function defineRoute<P, Q, B, H, R, A>(spec: RouteSpec<P, Q, B, H, R, A>): Route {
  const { auth, params, query, headers, success } = spec;
  const headerNames = headers ? keysOf(headers) : [];
  const takesBody = spec.method === 'POST' || spec.method === 'PUT';
  const body: Body<B> = Joi.isSchema(spec.body) || !spec.body ? jsonBody(spec.body ?? NOTHING) : spec.body;

  async function serve(ctx: ApiContext, api: Api): Promise<void> {
    const admission = await auth.admit(ctx, api);
    const request: RouteRequest<P, Q, B, H> = {
      params: parse(params ?? NOTHING, ctx.params, 'params'),
      query: parse(query ?? NOTHING, ctx.query, 'query'),
      headers: parse(headers ?? NOTHING, headersOf(ctx, headerNames), 'headers'),
      body: takesBody ? await body.read(ctx) : parse(NOTHING, {}, 'body'),
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
      ...new Set([
        ...auth.errors,
        ...inputErrors(takesBody ? body.errors : [], spec.idempotent),
        ...(spec.errors ?? []),
      ]),
    ],
    idempotent: spec.idempotent ?? false,
    rule: auth.rule,
    scope: auth.scope,
    params,
    query,
    headers,
    body: spec.body && body,
    serve,
  };
}

function inputErrors(bodyErrors: readonly ErrorCode[], idempotent = false): ErrorCode[] {
  return [
    'invalid-request',
    ...bodyErrors,
    ...(idempotent ? (['idempotency-key-reused'] as const) : []),
    'database-unavailable',
    'internal',
  ];
}

function keysOf(schema: Schema): string[] {
  const described: Record<string, unknown> = { ...schema.describe() };
  return isObject(described['keys']) ? Object.keys(described['keys']) : [];
}

/** Those that are there. */
function headersOf(ctx: ApiContext, names: readonly string[]): Record<string, string> {
  const given = names.map((name): [string, string] => [name, ctx.get(name)]);
  return Object.fromEntries(given.filter(([, value]) => value !== ''));
}

function readIdempotencyKey(ctx: ApiContext): string | undefined {
  const key = ctx.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && IDEMPOTENCY_KEY.test(key)) return key;
  const message = 'Idempotency-Key must be 1 to 255 printable ASCII characters without spaces';
  throw invalidField('headers.idempotency-key', message);
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
  if (ctx.status !== 204) ctx.body = ctx.status === 304 ? null : body;
  if (body instanceof Readable) ctx.res.setTimeout(STALLED_MS, () => ctx.res.destroy());
}

/** An answer that its own documentation does not know is a bug of ours, found here before a client finds it. */
function assertDocumented(success: Success, { body, status, headers }: Reply<unknown>): void {
  if (
    status !== undefined &&
    status !== success.status &&
    !Object.hasOwn(success.otherStatuses ?? {}, status)
  ) {
    throw new AppError('internal', { cause: new Error(`${status} is not a documented status`) });
  }
  if (!success.schema || status === 304 || isOtherType(success, headers)) return;
  const { error } = success.schema.validate(body, { convert: false, abortEarly: false });
  if (error) throw new AppError('internal', { cause: error });
}

function isOtherType({ otherContentType }: Success, headers: Reply<unknown>['headers']): boolean {
  return otherContentType !== undefined && headers?.['Content-Type'] === otherContentType;
}
