import { constants } from 'node:os';
import { parseLogLine, withoutColours } from './logLine.js';
import { describeFailure, saysSomething } from './readiness.js';

/** How a run ended that nobody of ours has ended. */
export interface Ending {
  /** 128 + n for a death by signal n; undefined when it was never written down. */
  readonly exitCode: number | undefined;
  /** Why nobody saw it end, where that is so. */
  readonly unseen?: string | undefined;
  /** Whether the kernel has killed for want of memory just before. */
  readonly oomKilled: boolean;
  /** The end of its console. */
  readonly lines: readonly string[];
}

type CrashCode =
  'out-of-memory' | 'killed' | 'jvm-crash' | 'watchdog' | 'crash-report' | 'signal' | 'exit-code' | 'unseen';

export interface Finding {
  readonly code: CrashCode;
  /** One sentence of at most 500 characters. */
  readonly detail: string;
  /** At most 20 lines of at most 500 characters. */
  readonly evidence: string[];
  /** As printed: nobody has looked yet whether it is there. */
  readonly report: string | undefined;
}

type Clue = Extract<CrashCode, 'out-of-memory' | 'jvm-crash' | 'watchdog' | 'crash-report'>;

/**
 * What consoles say of their end, the cause before what it leads to: a server without memory trips its watchdog, and
 * both leave a crash report. Each stands at the very beginning of a message, where chat has its `<name>`.
 */
const CLUES: readonly (readonly [Clue, RegExp])[] = [
  [
    'out-of-memory',
    /^(?:Exception(?: in thread ".{0,200}?"|:) |Caused by: |Terminating due to |Aborting due to )?java\.lang\.OutOfMemoryError\b/,
  ],
  ['out-of-memory', /^(?:Error: )?Could not reserve enough space (?:for|in) /],
  ['out-of-memory', /^# There is insufficient memory for the Java Runtime Environment to continue/],
  ['jvm-crash', /^# A fatal error has been detected by the Java Runtime Environment/],
  ['watchdog', /^A single server tick took \d+[.,]\d+ seconds/],
  ['watchdog', /^The server has stopped responding!/],
  ['crash-report', /^This crash report has been saved to: /],
  ['crash-report', /^We were unable to save this crash report to disk/],
];
const REPORT = /^(?:This crash report has been saved to: |# (?=\/.*hs_err_pid\d+\.log$))(\S.*)$/;
/** The answer to the command, typed on the console or by an operator in the game; after a crash it is not printed. */
const ASKED_TO_STOP = /^(?:\[[^\]:]{1,40}: )?Stopping the server\]?$/;

const EXIT_OF_SIGNAL = 128;
const EXIT_KILLED = EXIT_OF_SIGNAL + constants.signals.SIGKILL;
/** A JVM that is told to end runs its shutdown hooks, which save the world, and ends with one of these. */
const EXITS_WHEN_TOLD: ReadonlySet<number | undefined> = new Set(
  [constants.signals.SIGHUP, constants.signals.SIGINT, constants.signals.SIGTERM].map(
    signal => EXIT_OF_SIGNAL + signal,
  ),
);

/**
 * Why a run ended, the surest knowledge first; undefined when somebody wanted it to: `stop` in the game or on its
 * console, a signal of the host.
 */
export function causeOf(ending: Ending): Finding | undefined {
  const { exitCode, oomKilled, lines } = ending;
  const unseen = ending.unseen ?? (exitCode === undefined ? 'nobody was there' : undefined);
  const messages = lines.map(line => parseLogLine(line).message.trimEnd());
  const find = (code: CrashCode, detail: string, at?: number): Finding => ({
    code,
    detail: detail.slice(0, DETAIL_MAX),
    evidence: evidenceOf(lines, at),
    report: at === undefined ? undefined : messages.map(reportIn).findLast(path => path !== undefined),
  });

  if (unseen !== undefined) return find('unseen', `Nobody saw it end: ${unseen}`);
  if (wasWanted(exitCode, messages)) return undefined;
  if (exitCode === EXIT_KILLED && oomKilled) {
    return find(
      'out-of-memory',
      'The kernel killed it, because the host or its container had no memory left',
    );
  }
  for (const [code] of CLUES) {
    const at = messages.findLastIndex(message => tellsOf(code, message));
    if (at !== -1) return find(code, describeClue(code, messages, at), at);
  }
  if (exitCode === EXIT_KILLED) {
    return find('killed', 'It was killed from outside (SIGKILL), perhaps by the kernel for want of memory');
  }
  const signal = signalOf(exitCode);
  if (signal !== undefined) return find('signal', `It was ended by ${signal}`);
  return find('exit-code', `It ${describeFailure(exitCode, lines)}`);
}

/** Code 0 alone proves nothing: a server that has crashed by an exception still leaves through its front door. */
function wasWanted(exitCode: number | undefined, messages: readonly string[]): boolean {
  if (exitCode !== 0) return EXITS_WHEN_TOLD.has(exitCode);
  const crashed = messages.findLastIndex(
    message => tellsOf('crash-report', message) || tellsOf('watchdog', message),
  );
  return crashed === -1 || crashed < messages.findLastIndex(message => ASKED_TO_STOP.test(message));
}

function tellsOf(code: Clue, message: string): boolean {
  return CLUES.some(([clue, pattern]) => clue === code && pattern.test(message));
}

function describeClue(code: Clue, messages: readonly string[], at: number): string {
  const message = (messages[at] ?? '').replace(/^# /, '');
  switch (code) {
    case 'out-of-memory':
      return `It ran out of memory: ${message}`;
    case 'jvm-crash': {
      const reason = messages.slice(at).map(line => /^#  (\S.*)$/.exec(line)?.[1]);
      return `The Java virtual machine crashed: ${reason.find(text => text !== undefined) ?? message}`;
    }
    case 'watchdog':
      return `Its watchdog ended it: ${message}`;
    case 'crash-report':
      return 'It crashed by an exception';
  }
}

function reportIn(message: string): string | undefined {
  return REPORT.exec(message)?.[1];
}

function signalOf(exitCode = 0): string | undefined {
  return Object.entries(constants.signals).find(([, number]) => EXIT_OF_SIGNAL + number === exitCode)?.[0];
}

const DETAIL_MAX = 500;
const EVIDENCE_LINES = 20;
const EVIDENCE_CHARS = 500;
/** What follows the line that tells: a JVM's words on its own death, the first lines of a thread dump. */
const EVIDENCE_AFTER = 14;

/** Up to the line at `at` and a little further, or up to the end; without what says nothing. */
function evidenceOf(lines: readonly string[], at = lines.length): string[] {
  return lines
    .slice(0, at + 1 + EVIDENCE_AFTER)
    .filter(line => saysSomething(parseLogLine(line).message))
    .slice(-EVIDENCE_LINES)
    .map(line => withoutColours(line).trimEnd().slice(0, EVIDENCE_CHARS));
}
