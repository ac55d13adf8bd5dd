import pg from 'pg';
import type { Logger } from 'pino';
import { Sequelize } from 'sequelize';
import { AppError } from '#src/domain/errors.js';
import { translate } from './errors.js';
import { defineModels, type Models } from './models/index.js';

export interface ConnectOptions {
  /** `postgres://user:password@host:port/database`. */
  url: string;
  /** Connections that this process may hold at once. */
  poolMax: number;
  /** Shown by pg_stat_activity. */
  applicationName: string;
  logger?: Pick<Logger, 'debug' | 'warn'>;
  /** How long the server works on one statement before it gives up. Migrations need longer. */
  statementTimeoutMs?: number;
}

export interface Database {
  readonly sequelize: Sequelize;
  readonly models: Models;
  readonly logger: Pick<Logger, 'debug' | 'warn'> | undefined;
  /** Waits for the statements that run, then gives the connections back. */
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** The client gives up a little later than the server, so that a slow statement is reported as what it is. */
const ANSWER_GRACE_MS = 5_000;
/**
 * A process that was stopped (SIGSTOP, a frozen VM) inside a transaction would hold its row locks for as long. No
 * transaction of ours waits for anything but the database, so ten idle seconds mean exactly that.
 */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000;

/** Opens nothing yet: the first statement connects, and one after a failure connects again. */
export function connectDatabase(options: ConnectOptions): Database {
  const statementTimeout = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
  const sequelize = new Sequelize(options.url, {
    dialect: 'postgres',
    dialectModule: driver(),
    dialectOptions: {
      application_name: options.applicationName,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      statement_timeout: statementTimeout,
      query_timeout: statementTimeout + ANSWER_GRACE_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
      keepAlive: true,
    },
    pool: { max: options.poolMax, min: 0, idle: 60_000, acquire: 10_000 },
    // Statements of models carry their values inline, so no statement is ever logged.
    logging: false,
    hooks: {
      // The database sets updated_at (and may set more): what `save` and `update` leave in the instance is the row.
      beforeSave: (_instance, saveOptions) => {
        saveOptions.returning ??= true;
      },
    },
  });
  translateErrors(sequelize);
  const models = defineModels(sequelize);
  return { sequelize, models, logger: options.logger, close: () => sequelize.close() };
}

/**
 * pg, with bigint columns as numbers. Only for our connections: pg.types is shared by everyone in the process.
 * All our bigints count things or bytes; one beyond 2^53 fails the query instead of losing digits.
 */
function driver() {
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, text => {
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new AppError('internal', { detail: 'A bigint is beyond 2^53' });
    return value;
  });
  return { ...pg, types: Object.assign(types, { arrayParser: pg.types.arrayParser }) };
}

/** Every statement of models, plain SQL and transactions passes through `query`. */
function translateErrors(sequelize: Sequelize): void {
  sequelize.query = new Proxy(sequelize.query, {
    apply: async (query, self, args): Promise<unknown> => {
      try {
        return await Reflect.apply(query, self, args);
      } catch (error) {
        throw translate(error);
      }
    },
  });
}
