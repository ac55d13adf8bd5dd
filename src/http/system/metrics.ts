import { collectDefaultMetrics, Registry } from 'prom-client';

/** A registry with what every process tells about itself. One a process: it listens to the garbage collector. */
export function createProcessMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}
