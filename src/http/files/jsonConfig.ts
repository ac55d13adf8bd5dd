import { isConfigList, mergeConfig } from '#src/domain/configValue.js';
import { assertSameKind, faultAt, parseConfigRoot, type ConfigFormat } from './configFormat.js';

/** JSON, which is printed anew with the indentation, line ends and last line that the file has. */
export const jsonConfig: ConfigFormat = {
  read: text => parseConfigRoot(parseJson(text)),
  change(text, change) {
    const isNew = text.trim() === '';
    const before = isNew ? (isConfigList(change) ? [] : {}) : jsonConfig.read(text);
    assertSameKind(before, change);
    assertExact(text);
    const printed = JSON.stringify(mergeConfig(before, change), null, isNew ? '  ' : indentOf(text));
    const end = isNew ? '\n' : (/\s*$/.exec(text)?.[0] ?? '');
    return (text.includes('\r\n') ? printed.replaceAll('\n', '\r\n') : printed) + end;
  },
};

const NUMBER_OR_TEXT = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

/** Numbers that would come out as others are left alone, and with them the file. */
function assertExact(json: string): void {
  for (const { 0: token, index } of json.matchAll(NUMBER_OR_TEXT)) {
    const isKept = token.startsWith('"') || !/^-?\d{16,}$/.test(token) || String(Number(token)) === token;
    if (!isKept) throw faultAt(json, index, 'a number with more digits than can be kept');
  }
}

/** Empty for what stands on one line. */
function indentOf(json: string): string {
  return /^\s*[[{][^\S\r\n]*(?:\r\n|\n)([ \t]+)/.exec(json)?.[1] ?? '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw faultAt(text, endOfValid(text), 'it goes on as JSON does not');
  }
}

const JSON_TOKEN =
  /\s*(?:("(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|([[\]{},:])|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-]))/uy;

type Expected = 'value' | 'value-or-end' | 'key' | 'key-or-end' | 'colon' | 'more' | 'nothing';

/** Where a text stops being JSON: the parser itself does not always say. */
function endOfValid(text: string): number {
  const open: string[] = [];
  let expected: Expected = 'value';
  JSON_TOKEN.lastIndex = 0;
  for (;;) {
    const from = JSON_TOKEN.lastIndex;
    const at = from + (/^\s*/.exec(text.slice(from, from + 1000))?.[0].length ?? 0);
    const [whole, string, mark, literal] = JSON_TOKEN.exec(text) ?? [];
    if (whole === undefined) return at;
    const next = follow(expected, mark ?? (string !== undefined ? 'string' : literal ? 'literal' : ''), open);
    if (next === undefined) return at;
    expected = next;
  }
}

/** What may come after a token; undefined when it should not be there. Keeps `open`, the closing marks that are due. */
function follow(expected: Expected, token: string, open: string[]): Expected | undefined {
  const after = (): Expected => (open.length === 0 ? 'nothing' : 'more');
  if (token === ']' || token === '}') {
    const mayEnd = expected === 'more' || expected === (token === ']' ? 'value-or-end' : 'key-or-end');
    return mayEnd && open.pop() === token ? after() : undefined;
  }
  if (expected === 'colon') return token === ':' ? 'value' : undefined;
  if (expected === 'more') return token !== ',' ? undefined : open.at(-1) === ']' ? 'value' : 'key';
  if (expected === 'key' || expected === 'key-or-end') return token === 'string' ? 'colon' : undefined;
  if (expected === 'nothing') return undefined;
  if (token === '[' || token === '{') {
    open.push(token === '[' ? ']' : '}');
    return token === '[' ? 'value-or-end' : 'key-or-end';
  }
  return token === 'string' || token === 'literal' ? after() : undefined;
}
