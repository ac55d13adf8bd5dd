import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeExit, type Service } from './service.js';

interface Options {
  readonly name: string;
  readonly timeoutMs: number;
  /** Aborted when the start is no longer wanted. */
  readonly signal?: AbortSignal | undefined;
  /** Its last lines are quoted when the service does not come up. */
  readonly logFile?: string;
  /** Stands in for the reason when there is no log file to quote. */
  readonly hint?: string;
}

/**
 * Waits until `probe` answers true; stops the service and throws when it died, took too long or is no longer wanted.
 * A probe that throws counts as "not yet".
 */
export async function untilReady(
  service: Service,
  probe: () => Promise<boolean>,
  options: Options,
): Promise<void> {
  const { name, timeoutMs, signal } = options;
  let died: string | undefined;
  void service.exited.then(exit => (died = describeExit(exit)));
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      if (await probe()) return;
    } catch (error) {
      lastError = error;
    }
    const failure = died
      ? `${name} ended while starting (${died})`
      : signal?.aborted
        ? `${name} is no longer wanted`
        : performance.now() > deadline
          ? `${name} did not answer within ${timeoutMs / 1000} s`
          : undefined;
    if (failure !== undefined) {
      await service.stop();
      throw new Error(`${failure}${quote(options)}`, { cause: lastError });
    }
    await sleep(25);
  }
}

function quote({ logFile, hint }: Options): string {
  if (logFile === undefined) return hint === undefined ? '' : `; ${hint}`;
  try {
    const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-8);
    return `; the end of ${logFile}:\n    ${tail.join('\n    ')}`;
  } catch {
    return '';
  }
}
