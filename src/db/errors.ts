import { BaseError, ConnectionError, ValidationError } from 'sequelize';
import { AppError } from '#src/domain/errors.js';

/**
 * Lost connections; no memory, disk or connection slot left; stopped by an operator, a shutdown or a time-out.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const UNAVAILABLE_CLASSES = new Set(['08', '53', '57']);
/** The session was ended because its transaction did nothing for long: this process was stopped meanwhile. */
const IDLE_IN_TRANSACTION = '25P03';
const UNAVAILABLE_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
]);
/** pg has no code for these. */
const UNAVAILABLE_MESSAGE =
  /^(Connection terminated|Client has encountered a connection error|Query read timeout)/;

/** What an error that came out of a query carries, under all its wrappings. */
interface DriverError {
  code?: unknown;
  constraint?: unknown;
  message?: unknown;
}

function driverError(error: unknown): DriverError {
  if (error instanceof BaseError && 'parent' in error) return driverError(error.parent);
  return typeof error === 'object' && error !== null ? error : {};
}

/** The SQLSTATE (or the socket's error code) behind a failed query; undefined when the failure has none. */
export function sqlState(error: unknown): string | undefined {
  const { code } = driverError(error);
  return typeof code === 'string' ? code : undefined;
}

/** The name of the constraint or unique index that refused the row, e.g. `servers_agent_id_port_key`. */
export function violatedConstraint(error: unknown): string | undefined {
  const { constraint } = driverError(error);
  return typeof constraint === 'string' ? constraint : undefined;
}

/**
 * What leaves the database room: a server that does not answer becomes `database-unavailable` (503, retried), and
 * everything else keeps its class but hides from loggers what it drags along. Sequelize hangs the statement, its bind
 * values and the refused row (PostgreSQL's `detail`) on its errors, and pino prints every enumerable property:
 * without this a refused registration would put a password hash into the log.
 */
export function translate(error: unknown): unknown {
  if (isUnavailable(error)) {
    return new AppError('database-unavailable', { cause: hideValues(error), retryAfterS: 1 });
  }
  return hideValues(error);
}

function isUnavailable(error: unknown): boolean {
  if (error instanceof ConnectionError) return true;
  const { message } = driverError(error);
  if (typeof message === 'string' && UNAVAILABLE_MESSAGE.test(message)) return true;
  const code = sqlState(error);
  if (code === undefined) return false;
  return (
    UNAVAILABLE_CLASSES.has(code.slice(0, 2)) || code === IDLE_IN_TRANSACTION || UNAVAILABLE_CODES.has(code)
  );
}

const TELLTALE = ['parent', 'original', 'sql', 'parameters', 'fields', 'value', 'instance'];

function hideValues(error: unknown): unknown {
  if (!(error instanceof BaseError)) return error;
  hide(error);
  if (error instanceof ValidationError) error.errors.forEach(hide);
  return error;
}

function hide(carrier: object): void {
  for (const property of TELLTALE) {
    if (Object.hasOwn(carrier, property)) Object.defineProperty(carrier, property, { enumerable: false });
  }
}
