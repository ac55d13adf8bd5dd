import { parseConsoleLine, type ParsedLine } from './consoleLine.js';

/** One row of a console's history: a line, and the stack trace that came with it. */
export interface ConsoleEntry extends Omit<ParsedLine, 'prefixed'> {
  /** Class and message of what was thrown, e.g. `java.lang.IllegalStateException: no world`. */
  exception: string | null;
  /** As printed, line by line, beginning with the exception where there is one. */
  stack_trace: string | null;
}

/** Longer traces are cut into rows of this many characters. */
const TRACE_CHARS_MAX = 64 * 1024;

const FRAME = /^\s+at |^\s*(?:Caused by|Suppressed): |^\s+\.\.\. \d+ /;
const THROWN =
  /^(?:Exception in thread "[^"]*" )?((?:[\w$]+\.)+[\w$]*(?:Exception|Error|Throwable)\b(?::.*)?)$/s;

/** Joins the lines of one run, as they were printed, to entries. Total: a trace without its line is an entry too. */
export function joinEntries(lines: readonly string[]): ConsoleEntry[] {
  const entries: ConsoleEntry[] = [];
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
      const level = isFrame || thrown !== undefined ? 'ERROR' : line.level;
      const { source, message } = line;
      entries.push({
        level,
        source,
        message,
        exception: thrown ?? null,
        stack_trace: isFrame || thrown !== undefined ? message : null,
      });
    }
  }
  return entries;
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
