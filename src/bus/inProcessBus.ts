import type { Logger } from '#src/observability/logger.js';
import type { Bus } from './bus.js';
import { createListeners } from './listeners.js';

/** For a deployment that is one process. With several, each hears only itself, and the polls carry the rest. */
export function createInProcessBus({ logger }: { logger: Logger }): Bus {
  const listeners = createListeners(logger);
  return {
    publish: listeners.notify,
    subscribe: listeners.add,
    shared: false,
    close: async () => listeners.clear(),
  };
}
