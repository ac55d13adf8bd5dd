import Joi from 'joi';

declare const type: unique symbol;

/** One line of the settings table: how a text becomes a `T`, and what people are told about it. */
export interface Setting<T, Name extends string = string> {
  /** The name in the environment, in `.env` and in `config.yaml`. */
  readonly name: Name;
  readonly kind: string;
  /** Completes the sentence "NAME must be …", in errors and docs. */
  readonly expects: string;
  readonly schema: Joi.Schema;
  /** Parsed like any other source, so a default can't have a form that users may not write. */
  readonly default: string | undefined;
  /** What the docs say in place of `default`, where the default depends on something. */
  readonly defaultText: string | undefined;
  readonly about: string;
  /** Secrets may come from `NAME_FILE`, and their values appear in no message. */
  readonly secret: boolean;
  /** Carries `T` for the type checker; never present at run time. */
  readonly [type]?: T;
}

interface Options {
  readonly about: string;
  readonly default?: string;
  readonly defaultText?: string;
  readonly secret?: boolean;
}

type Parsed<T, O extends Options> = O extends { default: string } ? T : T | undefined;
export type ValueOf<S> = S extends Setting<infer T> ? T : never;
export type NameOf<S> = S extends Setting<unknown, infer Name> ? Name : never;

function define<T>(kind: string, expects: string, schema: Joi.Schema) {
  return <const Name extends string, const O extends Options>(
    name: Name,
    options: O,
  ): Setting<Parsed<T, O>, Name> => ({
    name,
    kind,
    expects,
    schema,
    default: options.default,
    defaultText: options.defaultText,
    about: options.about,
    secret: options.secret ?? false,
  });
}

/** A joi type whose parser either answers the value or `undefined` for "not one of these". */
function parsed(parse: (text: string) => unknown): Joi.Schema {
  return Joi.string().custom((text: string, helpers) => parse(text) ?? helpers.error('any.invalid'));
}

const UNIT_MS = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** `30s`, `5m`, `1h30m` → milliseconds. A bare number is refused: nobody can tell its unit. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (UNIT_MS.get(unit ?? '') ?? Number.NaN);
  }
  return total > 0 && Number.isSafeInteger(total) ? total : undefined;
}

function parseUrl(text: string, protocols: readonly string[]): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { protocol, hostname } = new URL(text);
  if (!protocols.includes(protocol.slice(0, -1)) || hostname === '') return undefined;
  return text.replace(/\/+$/, '');
}

function parseAddress(text: string): string | undefined {
  const port = /^(?:[^\s:/]+|\[[0-9a-f:]+\]):(\d{1,5})$/i.exec(text)?.[1];
  return port !== undefined && Number(port) <= 65_535 ? text : undefined;
}

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map(item => item.trim())
    .filter(item => item !== '');

export const text = define<string>('text', 'text', Joi.string());
export const path = define<string>('path', 'a path', Joi.string());
export const port = define<number>('port', 'a port number, 0 to 65535', Joi.number().port());
export const count = define<number>('number', 'a whole number, 0 or more', Joi.number().integer().min(0));
export const positive = define<number>('number', 'a whole number, 1 or more', Joi.number().integer().min(1));
export const address = define<string>('host:port', 'an address such as 127.0.0.1:7233', parsed(parseAddress));
export const list = define<readonly string[]>('list', 'a comma-separated list', parsed(splitList));
export const addresses = define<readonly string[]>(
  'list of host:port',
  'a comma-separated list of addresses such as 10.0.0.5:443',
  parsed(value => {
    const items = splitList(value);
    return items.every(item => parseAddress(item) !== undefined) ? items : undefined;
  }),
);
export const flag = define<boolean>(
  'yes/no',
  'true or false (also 1 or 0, yes or no, on or off)',
  Joi.boolean().truthy('1', 'yes', 'on').falsy('0', 'no', 'off'),
);
export const duration = define<number>(
  'duration',
  'a duration with its unit, such as 500ms, 30s, 5m, 24h or 14d',
  parsed(parseDuration),
);

/** A URL with one of the given schemes; trailing slashes are cut, so that callers append `/path`. */
export function url(...schemes: readonly string[]) {
  return define<string>(
    'URL',
    `a URL (${schemes.join(', ')})`,
    parsed(value => parseUrl(value, schemes)),
  );
}

export function choice<const V extends readonly string[]>(...values: V) {
  return define<V[number]>(values.join(' | '), `one of ${values.join(', ')}`, Joi.string().valid(...values));
}
