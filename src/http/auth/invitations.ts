import type { Transaction } from 'sequelize';
import { appendAudit } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { inTransaction, row, rows } from '#src/db/sql.js';
import { AppError } from '#src/domain/errors.js';
import { hashToken, newToken } from '#src/security/tokens.js';
import { admins } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import * as schema from './schema.js';

const create = defineRoute({
  operationId: 'createInvitation',
  method: 'POST',
  path: '/auth/invitations',
  tag: 'auth',
  summary: 'Invite someone to register, once',
  description: 'Where `REGISTRATION=invite`, the only way to register. The answer carries its token, once.',
  auth: admins,
  body: schema.invitationCreation,
  success: { status: 201, schema: schema.invitation },
  async handler({ actor, body, ip, requestId }, { db }) {
    const token = newToken();
    const made = await inTransaction(db, async transaction => {
      const inserted = await insertInvitation(db, token, actor.id, body.valid_for_days, transaction);
      const target = { type: 'invitation', id: inserted.id } as const;
      await appendAudit(db, { action: 'invitation.created', actor, ip, requestId, target }, { transaction });
      return inserted;
    });
    return { body: { id: made.id, token, expires_at: made.expires_at.toISOString() } };
  },
});

async function insertInvitation(
  db: Database,
  token: string,
  createdBy: string,
  days: number,
  transaction: Transaction,
): Promise<{ id: string; expires_at: Date }> {
  const inserted = await row<{ id: string; expires_at: Date }>(
    db,
    `INSERT INTO invitations (token_hash, created_by, expires_at) VALUES ($1, $2, now() + $3 * interval '1 day')
     RETURNING id, expires_at`,
    { bind: [hashToken(token), createdBy, days], transaction },
  );
  if (!inserted) throw new AppError('internal', { detail: 'An invitation was not stored' });
  return inserted;
}

/** Answers its id. Of two registrations with it one waits for the other. Rejects with `invalid-invitation`. */
export async function claimInvitation(
  db: Database,
  token: string | undefined,
  transaction: Transaction,
): Promise<string> {
  const claimed = await row<{ id: string }>(
    db,
    `UPDATE invitations SET used_at = now()
     WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now() RETURNING id`,
    { bind: [hashToken(token ?? '')], transaction },
  );
  if (!claimed) throw new AppError('invalid-invitation');
  return claimed.id;
}

export async function noteInvited(
  db: Database,
  id: string,
  userId: string,
  transaction: Transaction,
): Promise<void> {
  await rows(db, 'UPDATE invitations SET used_by = $2 WHERE id = $1 RETURNING id', {
    bind: [id, userId],
    transaction,
  });
}

export const invitationRoutes: Route[] = [create];
