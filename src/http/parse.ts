import type { ObjectSchema } from 'joi';
import { AppError } from '#src/domain/errors.js';

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
