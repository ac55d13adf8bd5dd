import type { Code } from '../errors.js';
import { parseLogLine } from './logLine.js';

/** `Done (12.345s)! For help, type "help"`; up to 1.12 `… or "?"`; some locales print a decimal comma. */
const READY = /^Done \(\d+[.,]\d+s\)! For help, type "help"(?: or "\?")?$/;

/**
 * Whether this line says that the server takes players. The text must stand right after the log prefix: players can
 * make a server log any other text. Paper's earlier `Done preparing level "world" (3.1s)` does not count.
 */
export function saysReady(line: string): boolean {
  if (!line.includes('Done (')) return false;
  const { prefixed, message } = parseLogLine(line);
  return prefixed && READY.test(message);
}

/** What a line tells about why a server did not start; undefined for the most. */
export function failureNamedBy(line: string): Code | undefined {
  const { prefixed, message } = parseLogLine(line);
  if (prefixed) {
    if (message.startsWith('You need to agree to the EULA in order to run the server'))
      return 'eula-not-accepted';
    if (/^(\*{4} FAILED TO BIND TO PORT!|Failed to bind to port)/.test(message)) return 'port-in-use';
    if (message.startsWith('Unsupported Java detected')) return 'java-missing';
    return undefined;
  }
  // The JVM's own words on stderr.
  if (
    /^(Error: |Exception in thread "main" |Caused by: )?java\.lang\.UnsupportedClassVersionError/.test(
      message,
    )
  ) {
    return 'java-missing';
  }
  if (/^(java\.lang\.\w+: Failed to bind to port|Caused by: java\.net\.BindException: )/.test(message))
    return 'port-in-use';
  return message.startsWith('Unsupported Java detected') ? 'java-missing' : undefined;
}

const DETAIL_MAX = 500;

/** False for blank lines, stack frames and the empty comment lines of a JVM's last words. */
export function saysSomething(message: string): boolean {
  return !/^(?:#?$|at |\.\.\. \d+ (?:more|common))/.test(message.trim());
}

/**
 * One sentence of at most 500 characters on why a server ended before it was ready: its exit code and the last lines
 * that mean something, without stack frames.
 */
export function describeFailure(exitCode: number | undefined, lines: readonly string[]): string {
  const code = exitCode === undefined ? 'ended' : `ended with exit code ${exitCode}`;
  const telling = lines
    .map(line => parseLogLine(line).message.trim())
    .filter(saysSomething)
    .slice(-6);
  let detail = '';
  for (const message of telling.toReversed()) {
    const longer = detail === '' ? message : `${message} | ${detail}`;
    if (`${code}: ${longer}`.length > DETAIL_MAX) break;
    detail = longer;
  }
  if (detail === '') detail = telling.at(-1)?.slice(0, DETAIL_MAX - code.length - 2) ?? 'it printed nothing';
  return `${code}: ${detail}`;
}
