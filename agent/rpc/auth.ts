import { createHash, timingSafeEqual } from 'node:crypto';
import type { Metadata } from '@grpc/grpc-js';
import { AgentError } from '../errors.js';

/** Throws `unauthenticated` unless the call shows what it must. */
export type Authorize = (metadata: Metadata) => void;

/** Without a token everyone may call: config allows that on a loopback address only. */
export function requireToken(token: string | undefined): Authorize {
  if (token === undefined) return () => undefined;
  const expected = digest(`Bearer ${token}`);
  return metadata => {
    const shown = metadata.get('authorization');
    // Digests, so that neither the comparison's time nor its refusal tells the length.
    if (shown.length !== 1 || !timingSafeEqual(digest(String(shown[0])), expected)) {
      throw new AgentError('unauthenticated', 'the call must carry this agent’s token');
    }
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
