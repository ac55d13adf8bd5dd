import type { Logger } from '#src/observability/logger.js';
import type { Bus } from './bus.js';
import { createInProcessBus } from './inProcessBus.js';
import { createRedisBus } from './redisBus.js';

/** Without a `redisUrl` the bus ends at this process. Returns at once: a Redis that is away is joined when it comes. */
export function createBus({ redisUrl, logger }: { redisUrl: string | undefined; logger: Logger }): Bus {
  return redisUrl === undefined ? createInProcessBus({ logger }) : createRedisBus({ url: redisUrl, logger });
}
