import { parseLogLine } from '../server/logLine.js';

/** How a server's console is asked for its ticks per second, and how the answer is known. */
export interface TpsQuestion {
  readonly command: string;
  /** Undefined for a line that does not belong to an answer. Only the last line of an answer has the value. */
  read(line: string): { readonly tps: number | undefined } | undefined;
}

/** Undefined for types whose console can't be asked. */
export function tpsQuestion(serverType: string | undefined): TpsQuestion | undefined {
  switch (serverType) {
    case 'spigot':
    case 'paper':
    case 'purpur':
      return { command: 'tps', read: readBukkit };
    case 'forge':
      return { command: 'forge tps', read: readForge };
    default:
      return undefined;
  }
}

/**
 * `TPS from last 1m, 5m, 15m: 20.0, 19.98, *20.0`; Purpur and others begin with 5s, a star says that it was more. The
 * text stands right after the log prefix: players can make a server log it only elsewhere.
 */
const BUKKIT = /^TPS from last ([\dms, ]{2,40}): ([\d.*, ]{1,100})/;
/** What EssentialsX logs of every command, unless it is told not to. */
const BUKKIT_ECHO = /^(?:\[Essentials\] )?CONSOLE issued server command: \/?tps$/;

function readBukkit(line: string): { tps: number | undefined } | undefined {
  const message = plain(line);
  if (message === undefined) return undefined;
  if (BUKKIT_ECHO.test(message)) return { tps: undefined };
  const [, spans = '', values = ''] = BUKKIT.exec(message) ?? [];
  const wanted = Math.max(0, spans.split(', ').indexOf('1m'));
  const tps = Number.parseFloat(values.split(', ')[wanted]?.replace('*', '') ?? '');
  return Number.isFinite(tps) ? { tps } : undefined;
}

/** A line for each dimension, `Dim 0 (overworld): …`, and at last the overall one. Some locales print a decimal comma. */
const FORGE =
  /^(Dim\b.{1,200}|Overall) ?: Mean tick time: \d{1,9}[.,]\d{1,6} ms\. Mean TPS: (\d{1,6}[.,]\d{1,6})$/;

function readForge(line: string): { tps: number | undefined } | undefined {
  const [, of, value] = FORGE.exec(plain(line) ?? '') ?? [];
  if (value === undefined) return undefined;
  return { tps: of === 'Overall' ? Number(value.replace(',', '.')) : undefined };
}

/** The message without colour codes; undefined for a line without a log prefix, and for most others. */
function plain(line: string): string | undefined {
  if (!/tps/i.test(line)) return undefined;
  const { prefixed, message } = parseLogLine(line);
  return prefixed ? message.replace(/§./g, '') : undefined;
}
