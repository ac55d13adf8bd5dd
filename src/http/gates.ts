import { AppError } from '#src/domain/errors.js';
import type { Identity } from '#src/security/identities.js';
import type { Gate } from './route.js';

export interface SignedIn {
  actor: Identity;
}

export const anyone: Gate<object> = {
  rule: 'anyone',
  errors: [],
  admit: () => Promise.resolve({}),
};

export const signedIn: Gate<SignedIn> = {
  rule: 'signed-in',
  errors: ['unauthenticated', 'token-expired'],
  admit: async (ctx, api) => ({ actor: await api.authenticate(ctx) }),
};

export const admins: Gate<SignedIn> = {
  rule: 'admin',
  errors: [...signedIn.errors, 'forbidden'],
  async admit(ctx, api) {
    const actor = await api.authenticate(ctx);
    if (actor.role !== 'admin')
      throw new AppError('forbidden', { detail: 'Only administrators may do that' });
    return { actor };
  },
};
