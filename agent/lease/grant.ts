/** The right to run leased servers for a while, in whole seconds of CLOCK_BOOTTIME of one boot of the host. */
export interface Grant {
  readonly bootId: string;
  readonly from: number;
  /** The first second that is not covered. */
  readonly until: number;
}

/**
 * What an answer to a request that was sent at `sentAtSeconds` grants. It counts from before the request left, so that any
 * delay on the way only shortens it, and so does the rounding: both ends are rounded down, the way the guard reads its clock.
 */
export function grantOf(bootId: string, sentAtSeconds: number, ttlMs: number): Grant {
  return { bootId, from: Math.floor(sentAtSeconds), until: Math.floor(sentAtSeconds + ttlMs / 1000) };
}

/** As the guard decides it (guard.sh, `lease_expired`). */
export function covers(grant: Grant, bootId: string, nowSeconds: number): boolean {
  const now = Math.floor(nowSeconds);
  return grant.bootId === bootId && grant.from <= now && now < grant.until;
}

/** The line of a lease file. */
export function encodeGrant({ bootId, from, until }: Grant): string {
  return `${bootId} ${from} ${until}\n`;
}
