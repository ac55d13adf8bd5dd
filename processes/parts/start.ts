import { ConfigError, loadConfig } from '#src/config.js';
import { AppError } from '#src/domain/errors.js';
import { createLogger } from '#src/observability/logger.js';
import { createShutdown } from '#src/observability/shutdown.js';
import { openCore, type Core } from './core.js';

/** The frame of a process of ours: settings, logger, an ordered end. What it can't start with is said in one line each. */
export async function startProcess(
  name: string,
  { deadlineMs }: { deadlineMs: number },
  begin: (core: Core) => Promise<void>,
): Promise<void> {
  try {
    const config = loadConfig(process.env, { cwd: process.cwd() });
    const { env, logLevel } = config.runtime;
    const logger = createLogger({ level: logLevel, name, pretty: env === 'development' });
    const shutdown = createShutdown({ logger, deadlineMs });
    await begin(openCore(config, logger, shutdown));
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof AppError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}
