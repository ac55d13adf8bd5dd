import { AppError } from './errors.js';

/** What a file of settings holds, whatever its format. */
export type ConfigValue = null | boolean | number | string | ConfigList | ConfigObject;
export type ConfigList = readonly ConfigValue[];
export interface ConfigObject {
  readonly [key: string]: ConfigValue;
}
/** A whole file. */
export type ConfigRoot = ConfigObject | ConfigList;

const DEPTH_MAX = 64;
const VALUES_MAX = 100_000;
const CHARS_MAX = 4 * 1024 * 1024;

export function isConfigObject(value: ConfigValue | undefined): value is ConfigObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isConfigList(value: ConfigValue | undefined): value is ConfigList {
  return Array.isArray(value);
}

/**
 * Objects are merged key by key, null removes a key, all else is replaced: JSON Merge Patch, RFC 7396 §2. Both must
 * have been parsed by `parseConfigValue`, which bounds their depth.
 */
export function mergeConfig(current: ConfigValue | undefined, change: ConfigValue): ConfigValue {
  if (!isConfigObject(change)) return change;
  const merged = new Map(isConfigObject(current) ? Object.entries(current) : []);
  for (const [key, value] of Object.entries(change)) {
    if (value === null) merged.delete(key);
    else merged.set(key, mergeConfig(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

/** The same value, whatever the order of keys. */
export function isSameConfig(a: ConfigValue | undefined, b: ConfigValue | undefined): boolean {
  if (isConfigList(a) && isConfigList(b)) {
    return a.length === b.length && a.every((value, at) => isSameConfig(value, b[at]));
  }
  if (!isConfigObject(a) || !isConfigObject(b)) return Object.is(a, b);
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every(key => Object.hasOwn(b, key) && isSameConfig(a[key], b[key]))
  );
}

/**
 * A copy that is a tree and nothing else, so that whatever walks it later, or prints it, is done soon: a few bytes of
 * aliases can stand for gigabytes, or for a circle. Throws `code` naming what is wrong: too deep, too much, a key that
 * would reach a prototype, no value of JSON.
 */
export function parseConfigValue(value: unknown, code: 'invalid-request' | 'invalid-config'): ConfigValue {
  let values = 0;
  let chars = 0;
  const refuse = (detail: string) => new AppError(code, { detail });

  function add(text: string): string {
    chars += text.length;
    if (chars > CHARS_MAX) throw refuse(`It stands for more than ${CHARS_MAX} characters`);
    return text;
  }

  function copyKey(key: string): string {
    if (key === '__proto__') throw refuse('A key must not be __proto__');
    return add(key);
  }

  function copy(part: unknown, depth: number): ConfigValue {
    values += 1;
    if (depth > DEPTH_MAX) throw refuse(`It is more than ${DEPTH_MAX} levels deep`);
    if (values > VALUES_MAX) throw refuse(`It stands for more than ${VALUES_MAX} values`);
    if (typeof part === 'string') return add(part);
    if (part === null || typeof part === 'boolean') return part;
    // What JSON has no number for is told as its text.
    if (typeof part === 'number') return Number.isFinite(part) ? part : String(part);
    if (Array.isArray(part)) return part.map((item: unknown) => copy(item, depth + 1));
    if (typeof part !== 'object') throw refuse('It holds what JSON has no value for');
    return Object.fromEntries(
      Object.entries(part).map(([key, inner]: [string, unknown]) => [copyKey(key), copy(inner, depth + 1)]),
    );
  }

  return copy(value, 0);
}
