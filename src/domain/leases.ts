import { canDo, type Capabilities } from './capabilities.js';
import { assertNever } from './errors.js';

/** The capability of an agent that renews its lease and whose guards obey it. */
const LEASES = 'leases';

/**
 * Whether a server lives under its agent's lease: it may be failed over, so it must not play on where nobody can tell. On an
 * agent that can't lease nothing is ever failed over, and every policy acts as `never`.
 */
export function livesUnderLease(policy: 'auto' | 'manual' | 'never', capabilities: Capabilities): boolean {
  switch (policy) {
    case 'auto':
    case 'manual':
      return canLease(capabilities);
    case 'never':
      return false;
    default:
      return assertNever(policy);
  }
}

export function canLease(capabilities: Capabilities): boolean {
  return canDo(capabilities, LEASES);
}

/** A server of an agent, and for which change of owner it is meant. */
export interface EpochOfServer {
  id: string;
  epoch: number;
}

/** Reported servers that are another agent's or nobody's, or that are there for an owner of before. */
export function staleOf<T extends EpochOfServer>(
  reported: readonly T[],
  owned: readonly EpochOfServer[],
): T[] {
  const epochs = new Map(owned.map(({ id, epoch }) => [id, epoch]));
  return reported.filter(({ id, epoch }) => {
    const present = epochs.get(id);
    return present === undefined || epoch < present;
  });
}
