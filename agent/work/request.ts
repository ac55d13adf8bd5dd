import type { WorkKey, WorkRequest } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { parseServerId } from '../server/paths.js';
import type { Fence, LedgerEntry } from './ledger.js';
import { isOwnWork, type Work } from './task.js';

export function newEntry(
  { opId, step }: WorkKey,
  serverId: string,
  fence: Fence,
  request: WorkRequest | undefined,
): LedgerEntry {
  return {
    opId,
    step,
    serverId,
    fence,
    acceptedAtMs: Date.now(),
    request,
    cancelRequested: false,
    outcome: undefined,
  };
}

export interface ValidRequest {
  readonly key: WorkKey;
  readonly work: Work;
  /** Empty for the agent's own. */
  readonly serverId: string;
  readonly fence: Fence;
}

/** Throws `invalid-request`. */
export function validate(request: WorkRequest): ValidRequest {
  const { key, work, epoch, opSeq } = request;
  if (!key || !isToken(key.opId) || !isToken(key.step)) {
    throw new AgentError(
      'invalid-request',
      'key needs an op_id and a step: 1 to 200 visible characters, no slash',
    );
  }
  if (!work) throw new AgentError('invalid-request', 'there is no such kind of work');
  if (epoch < 0 || opSeq < 0)
    throw new AgentError('invalid-request', 'epoch and op_seq must not be negative');
  if (isOwnWork(work)) return { key, work, serverId: '', fence: { epoch: 0, opSeq: 0 } };
  return { key, work, serverId: parseServerId(request.serverId), fence: { epoch, opSeq } };
}

/** Both make the run id `{op_id}/{step}`, which must name one pair only. */
function isToken(text: string): boolean {
  return /^[\x21-\x2e\x30-\x7e]{1,200}$/.test(text);
}
