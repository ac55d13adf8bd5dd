export type LogLevel = 'INFO' | 'WARN' | 'ERROR' | 'DEBUG';

export interface LogLine {
  readonly level: LogLevel;
  /** Thread or logger, as far as the server names one. */
  readonly source: string;
  readonly message: string;
  /** False for continuation lines and what the JVM itself prints. */
  readonly prefixed: boolean;
}

const ESCAPE = String.fromCharCode(27);
const ANSI_COLOUR = new RegExp(`${ESCAPE}\\[[0-9;]*[A-Za-z]`, 'g');

/**
 * The log prefixes of the server families, each anchored at the start of the line, so that a chat message which quotes
 * a log line can't pass for one:
 *   vanilla, Spigot, Fabric   [12:34:56] [Server thread/INFO]: msg        (newer Fabric: … [main/INFO] (FabricLoader) msg)
 *   Forge, NeoForge           [24Nov2026 04:29:23.120] [Server thread/INFO] [minecraft/DedicatedServer/]: msg
 *   Paper, Purpur             [12:34:56 INFO]: msg
 *   before 1.7                2013-05-01 12:34:56 [INFO] msg
 */
const THREADED =
  /^\[(?:\d{2}[A-Za-z]{3}\d{4} )?\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?\] \[([^\]]*)\/([A-Z]+)\](?: \[[^\]]*\])?(?:: ?| \([^)]{1,80}\) )(.*)$/;
const PAPER = /^\[\d{2}:\d{2}:\d{2} ([A-Z]+)\]: ?(.*)$/;
const ANCIENT = /^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} \[([A-Z]+)\] (.*)$/;

export function withoutColours(line: string): string {
  return line.replace(ANSI_COLOUR, '');
}

export function parseLogLine(raw: string): LogLine {
  const line = withoutColours(raw);
  const threaded = THREADED.exec(line);
  if (threaded) return prefixed(threaded[2], threaded[1], threaded[3]);
  const paper = PAPER.exec(line);
  if (paper) return prefixed(paper[1], '', paper[2]);
  const ancient = ANCIENT.exec(line);
  if (ancient) return prefixed(ancient[1], '', ancient[2]);
  return { level: 'INFO', source: '', message: line, prefixed: false };
}

function prefixed(
  level: string | undefined,
  source: string | undefined,
  message: string | undefined,
): LogLine {
  return { level: levelOf(level), source: source ?? '', message: message ?? '', prefixed: true };
}

function levelOf(name = ''): LogLevel {
  switch (name) {
    case 'FATAL':
    case 'ERROR':
    case 'SEVERE':
      return 'ERROR';
    case 'WARN':
    case 'WARNING':
      return 'WARN';
    case 'DEBUG':
    case 'TRACE':
    case 'FINE':
      return 'DEBUG';
    default:
      return 'INFO';
  }
}
