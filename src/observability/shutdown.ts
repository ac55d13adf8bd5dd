import type { Logger } from './logger.js';

/** Why the process ends: a signal, a fault nobody caught, or a decision of the process itself. */
export type ShutdownReason = NodeJS.Signals | 'fault' | 'done';

export interface ShutdownStep {
  readonly reason: ShutdownReason;
  /** Aborted when the step's time is up: it should then let go and return. */
  readonly signal: AbortSignal;
}

export interface Shutdown {
  /** Registers what must be closed. The last added is closed first, so add in the order of starting. */
  add(name: string, close: (step: ShutdownStep) => unknown, options?: { timeoutMs?: number }): void;
  /** Starts the shutdown (or joins the one under way); resolves when every step has run. Never rejects. */
  run(reason: ShutdownReason): Promise<void>;
  /** Aborted as soon as the shutdown starts: waits and start-up work listen to it. */
  readonly signal: AbortSignal;
}

interface Deps {
  readonly logger: Logger;
  /** Time for all steps together, in milliseconds. */
  readonly deadlineMs: number;
  /** Last act before exiting at once, on a second signal or at the deadline; synchronous. */
  readonly onForcedExit?: () => void;
  /** Stands in for the process in tests. */
  readonly host?: ShutdownHost;
}

export interface ShutdownHost {
  on(event: string, listener: (arg: unknown) => void): unknown;
  exit(code: number): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * A Ctrl-C reaches a process several times: from the terminal, and again from each launcher above it that passes it
 * on. Signals this close to the first one are the same wish, not impatience.
 */
const SAME_SIGNAL_MS = 1000;

/**
 * Owns the process's signals and its end. Steps run one after the other, each bounded, a failing one logged and
 * passed; then the process exits: 0 after a signal or `done`, 1 after a fault. A second signal exits at once.
 */
export function createShutdown({ logger, deadlineMs, onForcedExit, host = process }: Deps): Shutdown {
  const steps: { name: string; close: (step: ShutdownStep) => unknown; timeoutMs: number }[] = [];
  const started = new AbortController();
  let running: Promise<void> | undefined;
  let startedAt = 0;

  const exitNow = (code: number): void => {
    onForcedExit?.();
    host.exit(code);
  };

  async function closeAll(reason: ShutdownReason): Promise<void> {
    const deadline = setTimeout(() => {
      logger.error({ deadlineMs }, 'shutdown took too long; exiting with parts still open');
      exitNow(1);
    }, deadlineMs);
    for (let step = steps.pop(); step; step = steps.pop()) await closeOne(step, reason);
    clearTimeout(deadline);
    host.exit(reason === 'fault' ? 1 : 0);
  }

  async function closeOne(
    { name, close, timeoutMs }: (typeof steps)[number],
    reason: ShutdownReason,
  ): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs);
    const begun = performance.now();
    try {
      await Promise.race([close({ reason, signal }), rejectOn(signal, `not closed after ${timeoutMs} ms`)]);
      logger.debug({ step: name, ms: Math.round(performance.now() - begun) }, 'closed');
    } catch (error) {
      logger.error({ step: name, err: error }, 'closing failed; going on with the rest');
    }
  }

  const run = (reason: ShutdownReason): Promise<void> => {
    if (running) return running;
    startedAt = performance.now();
    logger.info({ reason }, 'shutting down');
    started.abort();
    running = closeAll(reason);
    return running;
  };

  for (const name of SIGNALS) {
    host.on(name, () => {
      if (!running) void run(name);
      else if (performance.now() - startedAt > SAME_SIGNAL_MS) {
        logger.warn({ signal: name }, 'second signal: exiting at once');
        exitNow(1);
      }
    });
  }
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    host.on(event, error => {
      logger.fatal({ err: error }, event);
      void run('fault');
    });
  }

  return {
    signal: started.signal,
    run,
    add: (name, close, { timeoutMs = deadlineMs } = {}) => void steps.push({ name, close, timeoutMs }),
  };
}

function rejectOn(signal: AbortSignal, message: string): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener('abort', () => reject(new Error(message)), { once: true }),
  );
}
