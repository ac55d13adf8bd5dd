/**
 * The format of java.util.Properties, as far as server.properties needs it: comments and keys that are not asked for
 * stay byte for byte, with their order and line ends. https://docs.oracle.com/javase/8/docs/api/java/util/Properties.html
 */

/** A logical line: a backslash at the end of a natural line joins it with the next. */
interface LogicalLine {
  readonly text: string;
  readonly key: string | undefined;
}

/** Sets keys to plain values (no escapes needed); a key that is not there is added at the end. */
export function setProperties(text: string, values: Readonly<Record<string, string>>): string {
  const missing = new Map(Object.entries(values));
  let result = '';
  for (const line of logicalLines(text)) {
    const value = line.key === undefined ? undefined : values[line.key];
    if (line.key === undefined || value === undefined) {
      result += line.text;
      continue;
    }
    missing.delete(line.key);
    result += valueOf(line.text) === value ? line.text : `${line.key}=${value}${lineEnd(line.text)}`;
  }
  const newline = text.includes('\r\n') ? '\r\n' : '\n';
  // A last line that goes on would take in the next one.
  if (missing.size > 0 && GOES_ON.test(result)) result += newline;
  for (const [key, value] of missing) {
    if (result !== '' && !result.endsWith('\n')) result += newline;
    result += `${key}=${value}${newline}`;
  }
  return result;
}

export function getProperty(text: string, key: string): string | undefined {
  let found: string | undefined;
  for (const line of logicalLines(text)) if (line.key === key) found = valueOf(line.text);
  return found;
}

const GOES_ON = /(?<!\\)(?:\\\\)*\\\r?\n$/;

function* logicalLines(text: string): Generator<LogicalLine> {
  const natural = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  for (let i = 0; i < natural.length; i++) {
    let line = natural[i] ?? '';
    if (/^[ \t\f]*([#!]|\r?\n?$)/.test(line)) {
      yield { text: line, key: undefined };
      continue;
    }
    while (GOES_ON.test(line) && i + 1 < natural.length) line += natural[++i] ?? '';
    const joined = joinedUp(line);
    yield {
      text: line,
      key: /^[ \t\f]*((?:\\.|[^\\=: \t\f\r\n])+)/.exec(joined)?.[1]?.replace(/\\(.)/g, '$1'),
    };
  }
}

/** Without the ends of its natural lines, but for the last. */
function joinedUp(line: string): string {
  return line.replace(/(?<!\\)((?:\\\\)*)\\\r?\n[ \t\f]*/g, '$1');
}

function valueOf(line: string): string {
  const value = joinedUp(line).replace(/^[ \t\f]*(?:\\.|[^\\=: \t\f\r\n])+[ \t\f]*[=:]?[ \t\f]*/, '');
  return value.replace(/\r?\n$/, '');
}

function lineEnd(line: string): string {
  return /\r?\n$/.exec(line)?.[0] ?? '';
}
