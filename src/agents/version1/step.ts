import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkKey, WorkProgress } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { Calls } from '../calls.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import type { Consoles } from './consoles.js';
import type { Looks } from './looks.js';
import type { States } from './states.js';
import type { Turns } from './turns.js';

export interface StepDeps {
  /** In their turn. */
  calls: Calls;
  /** As they are: for the one call that has the agent for itself. */
  rawCalls: Calls;
  turns: Turns;
  looks: Looks;
  consoles: Consoles;
  states: States;
}

/** One step of long work, which we do in the agent's place. */
export interface Step {
  agent: AgentAddress;
  serverId: string;
  key: WorkKey;
  /** Of each call. Its signal: the step is to end early. */
  options: CallOptions & { signal: AbortSignal };
  /** How long the agent may stay away in the middle. */
  patienceMs: number;
  /** Ends only with this process: for what is to be put right after a cancel. */
  closing: AbortSignal;
  report(progress: Partial<WorkProgress>): void;
}

const RETRY_MS = 1_000;

/**
 * Looks again until the agent answers: after an answer was lost only that tells what has happened. Rejects with
 * `outcome-unknown` when it stays away.
 */
export async function insist<T>(
  { options: { signal }, patienceMs }: Pick<Step, 'options' | 'patienceMs'>,
  look: () => Promise<T>,
): Promise<T> {
  let deadline = Infinity;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (!isLost(error) || signal.aborted) throw error;
      // From the first loss on: a download may have gone well for an hour before.
      deadline = Math.min(deadline, performance.now() + patienceMs);
      if (performance.now() > deadline) {
        const detail = 'The agent went away in the middle, and it cannot be asked what has happened';
        throw new AppError('outcome-unknown', { detail, cause: error });
      }
      await pause(RETRY_MS, signal);
    }
  }
}

/** The call may have taken effect, or not. */
export function isLost(error: unknown): boolean {
  return error instanceof AppError && (error.code === 'agent-unreachable' || error.code === 'agent-timeout');
}

/** Rejects with `cancelled` when the signal fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw new AppError('cancelled', { cause: error });
  }
}
