export interface ParsedLine {
  level: 'INFO' | 'WARN' | 'ERROR' | 'DEBUG';
  /** The thread or logger that the line names; empty when it has no prefix. */
  source: string;
  message: string;
  /** False for what the JVM itself prints and for the further lines of a message. */
  prefixed: boolean;
  /** The time of day that the prefix tells, in ms; null without a prefix. */
  clock_ms: number | null;
}

/**
 * The prefixes of the consoles in the field:
 * vanilla, Fabric, Spigot `[12:34:56] [Server thread/INFO]: …`, Paper `[12:34:56 INFO]: …`,
 * Forge `[12:34:56] [Server thread/INFO] [minecraft/DedicatedServer]: …` and `[24Nov2026 12:34:56.120] […]: …`.
 */
const PREFIXED =
  /^\[(?:\d{2}[A-Za-z]{3}\d{4} )?(?<clock>\d{2}:\d{2}:\d{2}(?:\.\d{3})?)(?: (?<bare>[A-Z]+))?\](?: \[(?<thread>[^\]]*)\/(?<level>[A-Z]+)\])?(?: \[(?<logger>[^\]]*)\])?:? ?(?<message>.*)$/s;

/** Colours of a terminal (CSI sequences). The lint rule takes the escape character for a slip, so it is spelt apart. */
const ESCAPE = String.fromCharCode(27);
const ANSI = new RegExp(`${ESCAPE}\\[[0-9;]*[A-Za-z]`, 'g');

const LEVELS: Readonly<Record<string, ParsedLine['level']>> = {
  TRACE: 'DEBUG',
  DEBUG: 'DEBUG',
  INFO: 'INFO',
  WARN: 'WARN',
  WARNING: 'WARN',
  ERROR: 'ERROR',
  SEVERE: 'ERROR',
  FATAL: 'ERROR',
};

/** Total: a line without a known prefix (JVM warnings, stack traces) is a message of level INFO without a source. */
export function parseConsoleLine(raw: string): ParsedLine {
  const line = raw.replace(ANSI, '').replace(/\r$/, '');
  const groups = PREFIXED.exec(line)?.groups;
  const level = groups?.level ?? groups?.bare;
  if (!groups || level === undefined)
    return { level: 'INFO', source: '', message: line, prefixed: false, clock_ms: null };
  return {
    level: LEVELS[level] ?? 'INFO',
    source: groups.logger ?? groups.thread ?? '',
    message: groups.message ?? '',
    prefixed: true,
    clock_ms: timeOfDay(groups.clock ?? ''),
  };
}

/** Of `12:34:56` or `12:34:56.789`, in ms. */
function timeOfDay(clock: string): number {
  const [hours, minutes, seconds] = clock.split(':').map(Number);
  return ((hours ?? 0) * 3_600 + (minutes ?? 0) * 60 + (seconds ?? 0)) * 1000;
}
