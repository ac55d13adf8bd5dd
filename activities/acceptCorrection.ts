import type { Transaction } from 'sequelize';
import { AppError } from '#src/domain/errors.js';
import type { OperationRequest } from '#src/operations/operations.js';
import type { ReconcileDeps } from './reconcileDeps.js';

type AcceptDeps = Pick<ReconcileDeps, 'operations' | 'bus' | 'logger'>;

export interface CorrectionRequest extends Pick<
  OperationRequest,
  'kind' | 'serverId' | 'reason' | 'idempotencyKey' | 'desiredState'
> {
  /** Runs in the accept transaction; answers the users who have a new alert. */
  prepare: (transaction: Transaction) => Promise<readonly string[]>;
}

/** `replayed`: it was accepted before, by whoever saw the same; `refused`: somebody was faster, which is as good. */
export type Acceptance = 'accepted' | 'replayed' | 'refused';

/** Asks for what the reconciler found to be due. */
export async function acceptCorrection(
  { operations, bus, logger }: AcceptDeps,
  { prepare, ...request }: CorrectionRequest,
): Promise<Acceptance> {
  let told: readonly string[] = [];
  try {
    const { replayed } = await operations.request({
      ...request,
      requestedBy: null,
      trigger: 'reconcile',
      async prepare(transaction) {
        told = await prepare(transaction);
      },
    });
    if (replayed) return 'replayed';
  } catch (error) {
    if (error instanceof AppError && REFUSALS.has(error.code)) return 'refused';
    throw error;
  }
  for (const user_id of told) bus.publish('notifications', { user_id });
  logger.info({ server: request.serverId, kind: request.kind, reason: request.reason }, 'reconciled');
  return 'accepted';
}

const REFUSALS = new Set([
  'stale-write',
  'not-found',
  'server-deleting',
  'needs-operator',
  'idempotency-key-reused',
]);
