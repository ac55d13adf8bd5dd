import type { ObjectSchema } from 'joi';
import { AppError } from '#src/domain/errors.js';

/** `invalid-request` for what no schema can tell of one part of a request: `body.port`, `query.step`. */
export function invalidField(path: string, message: string): AppError {
  return new AppError('invalid-request', { detail: message, errors: [{ path, message }] });
}

/** The input as its schema has it. Rejects with `invalid-request`, naming every fault. */
export function parse<T>(
  schema: ObjectSchema<T>,
  input: unknown,
  where: 'params' | 'query' | 'headers' | 'body',
): T {
  const parsed = schema.validate(input ?? {}, { abortEarly: false, errors: { wrap: { label: false } } });
  if (!parsed.error) return parsed.value;
  const errors = parsed.error.details.map(({ path, message }) => ({
    path: [where, ...path].join('.'),
    message,
  }));
  throw new AppError('invalid-request', { detail: errors[0]?.message ?? parsed.error.message, errors });
}
