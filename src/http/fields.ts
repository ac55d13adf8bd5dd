import Joi from 'joi';
import { invalidField } from './parse.js';

/**
 * The building blocks of all schemas. In bodies a number is a number and a boolean a boolean (`strict`); query strings
 * have only text, so there the plain joi types convert.
 */
export const uuid = () => Joi.string().guid({ separator: '-', wrapper: false }).lowercase();
export const time = () => Joi.string().isoDate();
export const integer = () => Joi.number().integer().strict();
export const boolean = () => Joi.boolean().strict();
/** As rows have it: any text, the empty one too. */
export const anyText = () => Joi.string().allow('');
export const port = () => integer().min(1).max(65_535);

/** Control characters, and what is invisible or reorders the text around it. Written out, as not every reader of our docs knows \p. */
const UNPRINTABLE = String.raw`\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff`;

/** Printable text of one line. */
export const line = () =>
  Joi.string()
    .trim()
    .pattern(new RegExp(`^[^${UNPRINTABLE}]*$`), 'printable text of one line');

/** …of which no part can become a path. */
export const pathlessLine = () =>
  Joi.string()
    .trim()
    .pattern(
      new RegExp(`^(?!.*\\.\\.)[^/\\\\${UNPRINTABLE}]*$`),
      'printable text without slashes or two dots in a row',
    );

/** Fields of the resource that a client sends back with the rest and that are none of its business. */
export function readOnly(...names: readonly string[]): Record<string, Joi.Schema> {
  const field = Joi.any().strip().description('Read-only: ignored');
  return Object.fromEntries(names.map(name => [name, field]));
}

export const idParams = Joi.object<{ id: string }, true>({ id: uuid().required() });

/** The `:id` of a path, for gates, which look before the input is parsed. Rejects with `invalid-request`. */
export function readId(params: unknown, ofWhat: string): string {
  const parsed = idParams.validate(params, { allowUnknown: true });
  if (!parsed.error) return parsed.value.id;
  throw invalidField('params.id', `The id of ${ofWhat} is a UUID`);
}

/** The name under which a schema is one component of the OpenAPI document; `components` in openapi.ts reads it. */
export function named<T extends Joi.AnySchema>(name: string, schema: T): T {
  return schema.meta({ component: name });
}
