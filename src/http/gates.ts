import { appendAudit } from '#src/db/audit.js';
import { AppError } from '#src/domain/errors.js';
import type { Scope } from '#src/domain/scopes.js';
import type { Identity } from '#src/security/identities.js';
import type { Gate } from './route.js';

export interface SignedIn {
  actor: Identity;
}

/** Someone who gave a password, not a key of theirs. */
export interface InPerson {
  actor: Identity & { sessionId: string };
}

export const anyone: Gate<object> = {
  rule: 'anyone',
  scope: null,
  errors: [],
  admit: () => Promise.resolve({}),
};

/** Whoever has an account; with an API key, one that may do such things. */
export function signedInFor(scope: Scope): Gate<SignedIn> {
  return {
    rule: 'signed-in',
    scope,
    errors: ['unauthenticated', 'token-expired', 'rate-limited', 'insufficient-scope'],
    admit: async (ctx, api) => ({ actor: await api.authenticate(ctx, scope) }),
  };
}

/** To look; what changes something names its own scope. */
export const signedIn = signedInFor('read');

/** For what belongs to the account itself: no API key reaches it. */
export const inPerson: Gate<InPerson> = {
  rule: 'in-person',
  scope: 'session',
  errors: signedIn.errors,
  async admit(ctx, api) {
    const { sessionId, ...actor } = await api.authenticate(ctx, 'session');
    if (sessionId === null) throw new AppError('insufficient-scope');
    return { actor: { ...actor, sessionId } };
  },
};

/** Somebody who keeps trying is one line a minute and route. */
const DENIAL_ONCE_IN_S = 60;

export const admins: Gate<SignedIn> = {
  rule: 'admin',
  scope: 'admin',
  errors: [...signedIn.errors, 'forbidden'],
  async admit(ctx, api) {
    const actor = await api.authenticate(ctx, 'admin');
    if (actor.role === 'admin') return { actor };
    await appendAudit(
      api.db,
      {
        action: 'access.denied',
        actor,
        ip: ctx.ip,
        requestId: ctx.state.requestId,
        data: { method: ctx.method, route: ctx.state.route ?? ctx.path },
      },
      { onceInS: DENIAL_ONCE_IN_S },
    );
    throw new AppError('forbidden', { detail: 'Only administrators may do that' });
  },
};
