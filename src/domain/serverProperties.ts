/**
 * server.properties, in the format of java.util.Properties. Lines that nobody changes stay as they are, byte for byte.
 * Texts are the file's bytes as latin1, one character each, so that whatever encoding a line has survives.
 * https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)
 */

/** Null removes the key. */
export type PropertyChanges = Readonly<Record<string, string | null>>;

/** A logical line: a backslash at the end of a natural line joins it with the next. */
interface Line {
  /** With its line end. */
  readonly raw: string;
  /** Undefined for comments and blank lines. */
  readonly entry: { readonly key: string; readonly value: string } | undefined;
}

/** Every key with its value, in the order of the file. Of a repeated key the last value counts, as for the server. */
export function readProperties(text: string): Record<string, string> {
  const entries = parseLines(text).flatMap(({ entry }) => (entry ? [[entry.key, entry.value] as const] : []));
  return Object.fromEntries(new Map(entries));
}

/** Changes values in place; new keys are added at the end. A key that has the value already keeps its line. */
export function changeProperties(text: string, changes: PropertyChanges): string {
  const wanted = new Map(Object.entries(changes));
  const current = new Map(Object.entries(readProperties(text)));
  const newline = /\r\n|\r|\n/.exec(text)?.[0] ?? '\n';
  const added = new Set(wanted.keys());
  const kept = parseLines(text).map(({ raw, entry }) => {
    const value = entry && wanted.get(entry.key);
    if (entry === undefined || value === undefined) return raw;
    added.delete(entry.key);
    if (value === null) return '';
    return current.get(entry.key) === value ? raw : print(entry.key, value) + endOf(raw);
  });
  let result = kept.join('');
  for (const key of added) {
    const value = wanted.get(key) ?? null;
    if (value === null) continue;
    if (result !== '' && !/[\r\n]$/.test(result)) result += newline;
    // A last line that promises to go on goes on here, with nothing.
    if (isContinued(result)) result += newline;
    result += print(key, value) + newline;
  }
  return result;
}

function parseLines(text: string): Line[] {
  const natural = text.match(/[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$/g) ?? [];
  const lines: Line[] = [];
  for (let at = 0; at < natural.length; at++) {
    let raw = natural[at] ?? '';
    if (/^[ \t\f]*(?:[#!]|[\r\n]|$)/.test(raw)) {
      lines.push({ raw, entry: undefined });
      continue;
    }
    while (isContinued(raw) && at + 1 < natural.length) raw += natural[++at] ?? '';
    lines.push({ raw, entry: parseEntry(raw) });
  }
  return lines;
}

/** An odd number of backslashes before the line end. */
function isContinued(line: string): boolean {
  const [, backslashes = ''] = /(\\*)(?:\r\n|\r|\n)$/.exec(line) ?? [];
  return backslashes.length % 2 === 1;
}

function parseEntry(raw: string): Line['entry'] {
  const line = raw
    .slice(0, raw.length - endOf(raw).length)
    .replace(/(?<!\\)((?:\\\\)*)\\(?:\r\n|\r|\n)[ \t\f]*/g, '$1')
    .replace(/^[ \t\f]+/, '');
  const [whole = '', key = ''] = /^((?:\\[^]|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*/.exec(line) ?? [];
  return key === '' ? undefined : { key: unescape(key), value: unescape(line.slice(whole.length)) };
}

function endOf(raw: string): string {
  return /(?:\r\n|\r|\n)$/.exec(raw)?.[0] ?? '';
}

const ESCAPED: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

function unescape(text: string): string {
  return decode(text).replace(/\\(?:u([0-9a-fA-F]{4})|([^])|$)/g, (_whole, hex?: string, char?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return char === undefined ? '' : (ESCAPED[char] ?? char);
  });
}

/** Minecraft writes and reads UTF-8, and falls back to latin1 as old versions wrote it. */
function decode(latin1: string): string {
  const bytes = Uint8Array.from(latin1, char => char.charCodeAt(0));
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return latin1;
  }
}

/** As java.util.Properties stores it: ASCII alone, which every version reads. */
function print(key: string, value: string): string {
  return `${escape(key).replaceAll(' ', '\\ ')}=${escape(value).replace(/^ /, '\\ ')}`;
}

const ESCAPES: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r', '\f': '\\f' };

function escape(text: string): string {
  return text
    .replace(/[\\=:#!]/g, '\\$&')
    .replace(
      /[^\x20-\x7e]/g,
      char => ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
}
