import { createRequire } from 'node:module';
import type pinoPretty from 'pino-pretty';
import { pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

interface LoggerOptions {
  readonly level: string;
  /** Which process speaks: `api`, `worker`, `agent local-1` … */
  readonly name: string;
  /** Wish for a readable form instead of JSON lines; honoured on a terminal only, so that files stay parseable. */
  readonly pretty?: boolean;
  /** Where lines go; standard output unless given. */
  readonly destination?: DestinationStream;
}

/**
 * The one way to a logger. Lines are written synchronously (nothing is lost by a crash right after), levels are
 * words, times ISO-8601, and no line holds a secret: see `scrub`.
 */
export function createLogger({ level, name, pretty = false, destination }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: { name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      hooks: { streamWrite: scrub },
    },
    destination ??
      (pretty && process.stdout.isTTY ? prettyStream() : pino.destination({ dest: 1, sync: true })),
  );
}

/** pino-pretty is a development dependency: only loaded when asked for, as a production image has none. */
function prettyStream(): DestinationStream {
  const loaded: unknown = createRequire(import.meta.url)('pino-pretty');
  if (!makesStreams(loaded)) throw new TypeError('pino-pretty is not what it was');
  return loaded({ sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' });
}

function makesStreams(loaded: unknown): loaded is typeof pinoPretty {
  return typeof loaded === 'function';
}

const REDACTED = '[redacted]';
const SECRET_KEY = String.raw`[\w.-]*(?:authorization|cookie|password|passwd|secret|token|api[-_]?key|credential)[\w.-]*`;
const SECRET_FIELD = new RegExp(String.raw`("${SECRET_KEY}":)(?:"(?:[^"\\]|\\.)*"|\[[^\]]*\])`, 'gi');
/** The same inside a text that was JSON itself, such as a logged body: there every quote is escaped once more. */
const NESTED_SECRET_FIELD = new RegExp(String.raw`(\\"${SECRET_KEY}\\":\s*\\").*?(?<!\\)\\"`, 'gi');
const URL_LOGIN = /(:\/\/)[^/\s"@]+@/g;
const BEARER = /\b(Bearer\s+)[\w.~+/=-]{8,}/gi;
const URL_SECRET = /([?&](?:[\w-]*token|[\w-]*signature|[\w-]*credential|api[-_]?key)=)[^&\s"\\]+/gi;

/**
 * Takes secrets out of a finished line: values of keys that sound like one at any depth, logins in URLs (`jar_url`,
 * `DATABASE_URL` in an error's text), bearer tokens, and signatures in query strings. It works on the text because
 * secrets also sit in messages and stack traces, which no list of paths covers.
 */
export function scrub(line: string): string {
  return line
    .replace(SECRET_FIELD, `$1"${REDACTED}"`)
    .replace(NESTED_SECRET_FIELD, `$1${REDACTED}\\"`)
    .replace(URL_LOGIN, `$1${REDACTED}@`)
    .replace(BEARER, `$1${REDACTED}`)
    .replace(URL_SECRET, `$1${REDACTED}`);
}
