import type { IncomingMessage } from 'node:http';
import Joi, { type ObjectSchema, type Schema } from 'joi';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import { limitArrival, liftArrivalLimit } from './arrival.js';
import type { ApiContext } from './context.js';
import { readBody } from './middleware/body.js';
import { parse } from './parse.js';

/** How a route takes its body; what `read` answers is what its handler sees. */
export interface Body<B> {
  /** Media type → its schema, for the docs; null = any bytes. */
  readonly content: Readonly<Record<string, Schema | null>>;
  /** An absent body is refused. */
  readonly required: boolean;
  readonly errors: readonly ErrorCode[];
  read(ctx: ApiContext): Promise<B>;
}

/** A body that is read as it arrives. */
export class Incoming {
  constructor(
    /** As sent, with its parameters; empty when nothing is said. */
    readonly contentType: string,
    /**
     * Whoever iterates sets the pace. Throws `body-too-large`, `request-timeout` when the client does not keep up, and
     * `cancelled` when it has gone. What is left unread is thrown away.
     */
    readonly bytes: AsyncIterable<Buffer>,
  ) {}
}

/** A client that sends nothing for this long is given up on. */
const IDLE_MS = 30_000;
/** …and so is one that has kept us waiting longer than if it sent this much a second. */
const BYTES_PER_SECOND_MIN = 16 * 1024;
/** For what a client still sends when it has been answered already. */
const LINGER_MS = 10_000;

/** JSON, as its schema has it. */
export function jsonBody<B>(schema: ObjectSchema<B>): Body<B> {
  return {
    content: { 'application/json': schema },
    // An empty body is read as `{}`.
    required: schema.validate({}).error !== undefined,
    errors: ['invalid-json', 'body-too-large', 'unsupported-media-type'],
    read: async ctx => parse(schema, await readBody(ctx), 'body'),
  };
}

export interface StreamRules {
  /** What is taken, as type-is has it: `multipart/form-data`, or any type. */
  type: string;
  maxBytes: number;
  idleMs?: number;
}

/** Bytes of a type, as they arrive. */
export function streamedBody({ type, maxBytes, idleMs = IDLE_MS }: StreamRules): Body<Incoming> {
  return {
    content: { [type]: null },
    required: true,
    errors: ['body-too-large', 'unsupported-media-type', 'request-timeout'],
    async read(ctx) {
      const coding = ctx.get('Content-Encoding');
      if (coding !== '' && coding !== 'identity') {
        throw new AppError('unsupported-media-type', { detail: 'The body must not be compressed' });
      }
      if (type !== '*/*' && !ctx.is(type)) throw new AppError('unsupported-media-type');
      if ((ctx.request.length ?? 0) > maxBytes) throw tooLarge(maxBytes);
      return new Incoming(ctx.get('Content-Type'), arriving(ctx.req, maxBytes, idleMs));
    },
  };
}

/** JSON, or else what the other body takes. */
export function eitherBody<A, B>(json: Body<A>, other: Body<B>): Body<A | B> {
  return {
    content: { ...json.content, ...other.content },
    required: json.required && other.required,
    errors: [...json.errors, ...other.errors],
    read: ctx => (ctx.is('application/json') ? json.read(ctx) : other.read(ctx)),
  };
}

async function* arriving(
  request: IncomingMessage,
  maxBytes: number,
  idleMs: number,
): AsyncGenerator<Buffer, void> {
  // A socket that is destroyed by the end of an iteration could carry no answer.
  const chunks: AsyncIterator<Buffer> = request.iterator({ destroyOnReturn: false });
  let size = 0;
  let waitedMs = 0;
  liftArrivalLimit(request);
  try {
    for (;;) {
      const began = performance.now();
      const patienceMs = idleMs + (1000 * size) / BYTES_PER_SECOND_MIN - waitedMs;
      const next = await within(Math.min(idleMs, patienceMs), chunks.next());
      waitedMs += performance.now() - began;
      if (next.done) return;
      size += next.value.length;
      if (size > maxBytes) throw tooLarge(maxBytes);
      yield next.value;
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('cancelled', { detail: 'The upload broke off', cause: error });
  } finally {
    limitArrival(request, LINGER_MS);
    // Whoever is still sending is read to the end, lest the next request of the connection waits behind it.
    void chunks.return?.().then(() => request.resume());
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new AppError('request-timeout')), Math.max(0, ms));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('body-too-large', { detail: `The body may have ${maxBytes} bytes` });
}

/** Where a route takes no body: `{}` alone. Typed so that its handler sees an unknown there. */
export const NOTHING = Joi.object<never>().pattern(Joi.string(), Joi.forbidden());
