import type { Logger } from '#src/observability/logger.js';
import type { BusTopic, BusTopics } from './bus.js';

type Listener<T extends BusTopic> = (payload: BusTopics[T]) => void;

/** Who listens in this process. */
export interface Listeners {
  /** Answers the remove function; calling that twice is harmless. */
  add: <T extends BusTopic>(topic: T, listener: Listener<T>) => () => void;
  has: (topic: BusTopic) => boolean;
  /**
   * Calls the listeners of a topic soon, in the order of the calls: never inside the publisher's stack, whom a
   * listener could otherwise stop or re-enter. A listener that throws is logged, and the others still hear.
   */
  notify: <T extends BusTopic>(topic: T, payload: BusTopics[T]) => void;
  clear: () => void;
}

export function createListeners(logger: Logger): Listeners {
  // One entry per subscribe call; each goes with its unsubscribe function, all of them with `clear`.
  const listeners: { [T in BusTopic]: Set<Listener<T>> } = {
    'operation-events': new Set(),
    dispatch: new Set(),
    console: new Set(),
    'agent-status': new Set(),
    'access-changed': new Set(),
    notifications: new Set(),
  };

  function call<T extends BusTopic>(topic: T, payload: BusTopics[T]): void {
    for (const listener of listeners[topic]) {
      try {
        listener(payload);
      } catch (error) {
        logger.error({ err: error, topic }, 'a bus listener failed');
      }
    }
  }

  return {
    add(topic, listener) {
      // A wrapper of its own, so that the same function subscribed twice is two subscriptions.
      const entry: typeof listener = payload => listener(payload);
      listeners[topic].add(entry);
      return () => void listeners[topic].delete(entry);
    },
    has: topic => listeners[topic].size > 0,
    notify: (topic, payload) => queueMicrotask(() => call(topic, payload)),
    clear: () => Object.values(listeners).forEach(entries => entries.clear()),
  };
}
