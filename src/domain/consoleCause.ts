import type { AlertCode, Severity } from './alert.js';
import type { ConsoleEntry } from './consoleEntry.js';

/** What a console says is wrong with its server. */
export interface ConsoleCause {
  code: AlertCode;
  severity: Severity;
  /** Follows the server's name. */
  title: string;
  /** What to do about it. */
  suggestion: string;
  /** The line and the beginning of its trace. */
  evidence: string[];
}

interface Rule extends Omit<ConsoleCause, 'evidence'> {
  /** Of the message or of the exception, from its very beginning: there chat has a name, which nobody can choose so. */
  pattern: RegExp;
  /** Where it is printed as INFO or without a prefix. Others look at warnings and errors alone. */
  plain?: true;
  /** Said in place of `suggestion`, where the line tells more. */
  advise?: (text: string) => string | undefined;
}

/** Loggers that Paper puts in front of a message. */
const LOGGER = String.raw`(?:\[[\w .-]{1,60}\] )?`;

const OUT_OF_MEMORY = {
  code: 'out-of-memory',
  severity: 'critical',
  title: 'has run out of memory',
  suggestion: 'Raise memory_max, or let it do less: fewer plugins, a shorter view distance.',
} as const;
const WRONG_JAVA = {
  code: 'wrong-java',
  severity: 'warning',
  title: 'needs another Java',
  suggestion:
    'Set java_version to what its Minecraft version needs; POST /agents/:id/java installs it where it is missing.',
} as const;
const MISSING_DEPENDENCY = {
  code: 'missing-dependency',
  severity: 'warning',
  title: 'misses what a plugin or mod depends on',
  suggestion: 'Install what the line names, or remove what asks for it.',
} as const;
const INCOMPATIBLE_MODS = {
  code: 'incompatible-mods',
  severity: 'warning',
  title: 'has mods that do not go together',
  suggestion: 'Update or remove the mods that the lines name; client-only mods do not belong on a server.',
} as const;
const WORLD_CORRUPT = {
  code: 'world-corrupt',
  severity: 'critical',
  title: 'cannot read a part of its world',
  suggestion: 'Stop it before it writes over more, and restore a backup. Look at the disk, too.',
} as const;
const TICK_STALLED = {
  code: 'tick-stalled',
  severity: 'warning',
  title: 'is stuck in a tick',
  suggestion: 'The thread dump below the line shows where: look there for the name of a plugin or mod.',
} as const;
const CRASH_REPORT = {
  code: 'crash-report',
  severity: 'warning',
  title: 'has written a crash report',
  suggestion: 'Read the report in its crash-reports folder: its description and the names under it.',
} as const;

/** The first that fits is the cause. Shapes of vanilla, Paper, Fabric and Forge. */
const RULES: readonly Rule[] = [
  {
    ...OUT_OF_MEMORY,
    pattern:
      /^(?:Exception(?: in thread ".{0,200}?"|:) |Terminating due to |Aborting due to )?java\.lang\.OutOfMemoryError\b/,
    plain: true,
  },
  { ...OUT_OF_MEMORY, pattern: /^(?:Error: )?Could not reserve enough space (?:for|in) /, plain: true },
  {
    ...OUT_OF_MEMORY,
    pattern: /^# There is insufficient memory for the Java Runtime Environment to continue/,
    plain: true,
  },
  {
    ...WRONG_JAVA,
    pattern: /^\s*(?:Exception in thread "main" )?java\.lang\.UnsupportedClassVersionError: /,
    plain: true,
    advise: text => javaOf(/class file version (\d+)/.exec(text)?.[1]),
  },
  { ...WRONG_JAVA, pattern: /^Unsupported Java detected \(/, plain: true },
  {
    code: 'eula-missing',
    severity: 'warning',
    title: 'waits for the Minecraft EULA to be accepted',
    suggestion: 'Read it and set accept_eula, if you agree.',
    pattern: /^You need to agree to the EULA in order to run the server\./,
    plain: true,
  },
  {
    code: 'port-in-use',
    severity: 'warning',
    title: 'found its port taken',
    suggestion: 'Give it another port, or end what listens there: perhaps an older run of it.',
    pattern: /^\*{4} FAILED TO BIND TO PORT!/,
  },
  {
    code: 'world-locked',
    severity: 'warning',
    title: 'found its world in use',
    suggestion: 'Another process has this world open: end it. Never delete session.lock while one runs.',
    pattern: /^(?:Failed to acquire .{0,300}session\.lock|[\w.$]+: .{0,300}session\.lock: already locked)/,
  },
  { ...WORLD_CORRUPT, pattern: /^Exception reading .{0,300}level\.dat/ },
  { ...WORLD_CORRUPT, pattern: /^Corrupt regionfile header detected!/ },
  {
    ...WORLD_CORRUPT,
    pattern: /^[Rr]egion ?[Ff]ile .{0,300} has (?:truncated header|(?:an )?invalid sector)/,
  },
  { ...WORLD_CORRUPT, pattern: /^Couldn't load chunk / },
  {
    ...MISSING_DEPENDENCY,
    pattern: /^(?:org\.bukkit\.plugin\.)?UnknownDependencyException: /,
    advise: installOf,
  },
  {
    ...MISSING_DEPENDENCY,
    pattern: new RegExp(`^${LOGGER}Unknown(?:/missing)? dependency `),
    advise: installOf,
  },
  { ...MISSING_DEPENDENCY, pattern: /^Missing or unsupported mandatory dependencies:/ },
  { ...INCOMPATIBLE_MODS, pattern: /^Incompatible mods? (?:found|set)!/ },
  { ...INCOMPATIBLE_MODS, pattern: /^net\.fabricmc\.loader\.[\w.]{0,100}ModResolutionException: / },
  {
    ...INCOMPATIBLE_MODS,
    pattern:
      /^(?:[\w.]{1,100}Exception: )?Attempted to load class \S{1,300} for invalid dist DEDICATED_SERVER/,
  },
  { ...TICK_STALLED, pattern: /^A single server tick took \d+[.,]\d+ seconds/ },
  { ...TICK_STALLED, pattern: /^The server has not responded for \d+ seconds! Creating thread dump/ },
  { ...TICK_STALLED, pattern: /^The server has stopped responding!/ },
  {
    code: 'overloaded',
    severity: 'warning',
    title: 'cannot keep up',
    suggestion:
      'It has more to do than its processor can: fewer entities or players, a shorter view distance.',
    pattern: /^Can't keep up! /,
  },
  { ...CRASH_REPORT, pattern: /^This crash report has been saved to: / },
  { ...CRASH_REPORT, pattern: /^We were unable to save this crash report to disk/ },
];

/** One look tells most lines from all of these. */
const PLAIN = anyOf(RULES.filter(({ plain }) => plain));
const ANY = anyOf(RULES);

const EVIDENCE_LINES = 10;
const EVIDENCE_CHARS = 500;
const EVIDENCE_SOURCE_CHARS = 8_000;

/** Undefined for nearly every line there is. */
export function causeOf(entry: ConsoleEntry): ConsoleCause | undefined {
  const { level, message, exception } = entry;
  const isPlain = level === 'INFO' || level === 'DEBUG';
  if (isPlain) {
    if (!PLAIN.test(message)) return undefined;
  } else if (!ANY.test(message) && (exception === null || !ANY.test(exception))) {
    return undefined;
  }
  for (const { pattern, plain, advise, ...cause } of RULES) {
    if (isPlain && !plain) continue;
    const text = [message, exception].find(each => each !== null && pattern.test(each));
    if (typeof text !== 'string') continue;
    return { ...cause, suggestion: advise?.(text) ?? cause.suggestion, evidence: evidenceOf(entry) };
  }
  return undefined;
}

function evidenceOf({ message, stack_trace }: ConsoleEntry): string[] {
  const trace = stack_trace === null || stack_trace === message ? '' : stack_trace;
  return `${message}\n${trace.slice(0, EVIDENCE_SOURCE_CHARS)}`
    .split('\n')
    .map(line => line.trimEnd().slice(0, EVIDENCE_CHARS))
    .filter(line => line !== '')
    .slice(0, EVIDENCE_LINES);
}

function anyOf(rules: readonly Rule[]): RegExp {
  return new RegExp(rules.map(({ pattern }) => pattern.source).join('|'));
}

/** Class files count from Java's own version plus 44. */
function javaOf(classFile: string | undefined): string | undefined {
  if (classFile === undefined) return undefined;
  const major = Number(classFile) - 44;
  return `It needs Java ${major}: set java_version to ${major}; POST /agents/:id/java installs it where it is missing.`;
}

/** Names come from a plugin's own file. */
function installOf(text: string): string | undefined {
  const names = /dependency(?: plugins: \[([\w ,.-]{1,200})\]| ([\w.-]{1,60})\.)/.exec(text);
  const missing = names?.[1] ?? names?.[2];
  return missing && `Install ${missing}, or remove what asks for it.`;
}
