import { parseConsoleLine, type ParsedLine } from './consoleLine.js';

/** One row of a console's history: a line, and the stack trace that came with it. */
export interface ConsoleEntry extends Omit<ParsedLine, 'prefixed' | 'clock_ms'> {
  /** Class and message of what was thrown, e.g. `java.lang.IllegalStateException: no world`. */
  exception: string | null;
  /** As printed, line by line, beginning with the exception where there is one. */
  stack_trace: string | null;
  /** When it was printed, in ms since 1970, where that is known to be another time than that of its reading. */
  at_ms?: number;
}

/** When lines were read: in ms since 1970 by our clock, and as the time of day of the clock that their prefixes tell. */
export interface ReadTime {
  at_ms: number;
  clock_ms: number;
}

/** Longer traces are cut into rows of this many characters. */
const TRACE_CHARS_MAX = 64 * 1024;

const FRAME = /^\s+at |^\s*(?:Caused by|Suppressed): |^\s+\.\.\. \d+ /;
const THROWN =
  /^(?:Exception in thread "[^"]*" )?((?:[\w$]+\.)+[\w$]*(?:Exception|Error|Throwable)\b(?::.*)?)$/s;

const DAY_MS = 86_400_000;
/** Prefixes tell seconds: a line that is hardly older was read as it was printed, which is the better time. */
const FRESH_MS = 2_000;

/**
 * Joins the lines of one run, as they were printed, to entries. Total: a trace without its line is an entry too. With
 * `read` they are dated by their prefixes: within the day before it, and never before the line above.
 */
export function joinEntries(lines: readonly string[], read?: ReadTime): ConsoleEntry[] {
  const entries: ConsoleEntry[] = [];
  let at_ms = read && firstTimeOf(lines, read);
  for (const raw of lines) {
    const line = parseConsoleLine(raw);
    const last = entries.at(-1);
    const [, thrown] = (line.prefixed ? null : THROWN.exec(line.message)) ?? [];
    const isFrame = !line.prefixed && FRAME.test(line.message);
    const grows = last !== undefined && (isFrame ? canGrow(last, line.message) : isOpening(last, thrown));
    if (grows) {
      last.exception ??= thrown ?? null;
      last.stack_trace = last.stack_trace === null ? line.message : `${last.stack_trace}\n${line.message}`;
    } else {
      if (read && line.clock_ms !== null) at_ms = Math.max(at_ms ?? 0, printedAt(line.clock_ms, read));
      const level = isFrame || thrown !== undefined ? 'ERROR' : line.level;
      const { source, message } = line;
      entries.push({
        level,
        source,
        message,
        exception: thrown ?? null,
        stack_trace: isFrame || thrown !== undefined ? message : null,
        ...(at_ms !== undefined && { at_ms }),
      });
    }
  }
  return entries;
}

/** What has no prefix was printed no later than the first line that has one. */
function firstTimeOf(lines: readonly string[], read: ReadTime): number | undefined {
  for (const line of lines) {
    const { clock_ms } = parseConsoleLine(line);
    if (clock_ms !== null) return printedAt(clock_ms, read);
  }
  return undefined;
}

function printedAt(clock_ms: number, read: ReadTime): number {
  const age = (read.clock_ms - clock_ms + DAY_MS) % DAY_MS;
  const isFresh = age < FRESH_MS || age > DAY_MS - FRESH_MS;
  return isFresh ? read.at_ms : read.at_ms - age;
}

/** Whether the next line of the console may still belong to the last one of these. */
export function mayGoOn(lines: readonly string[]): boolean {
  const last = lines.at(-1);
  if (last === undefined) return false;
  const { prefixed, level, message } = parseConsoleLine(last);
  return prefixed ? level === 'ERROR' : FRAME.test(message) || THROWN.test(message);
}

/** Frames follow what was thrown, or a line that announces an error. */
function canGrow({ level, stack_trace }: ConsoleEntry, frame: string): boolean {
  if (stack_trace === null) return level === 'ERROR' || level === 'WARN';
  return stack_trace.length + frame.length < TRACE_CHARS_MAX;
}

/** What was thrown stands right under the line that tells of it. */
function isOpening({ stack_trace, level }: ConsoleEntry, thrown: string | undefined): boolean {
  return thrown !== undefined && stack_trace === null && (level === 'ERROR' || level === 'WARN');
}
