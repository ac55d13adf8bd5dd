import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from '../server/registry.js';
import { STATE_NAMES } from '../server/state.js';
import { bootId, bootSeconds } from '../system.js';
import type { Leases } from './leases.js';
import {
  type ControlPlane,
  NotRenewed,
  REPORTED_MAX,
  type ReportedServer,
  requestLease,
} from './renewalCall.js';

export interface RenewalDeps {
  readonly controlPlane: ControlPlane;
  readonly agentId: string;
  readonly incarnation: string;
  readonly registry: Registry;
  readonly leases: Leases;
  readonly log: Logger;
}

/** Until an answer says another. */
const RENEW_MS = 15_000;
const REQUEST_MS = 5_000;
const FIRST_RETRY_MS = 500;
/** An api that restarts is no news. */
const FAILURES_UNTOLD = 3;

/** Asks for the lease at once and from then on for as long as the process lives. `close` waits for what is under way. */
export function keepLeaseRenewed(deps: RenewalDeps): { close(): Promise<void> } {
  const stopping = new AbortController();
  const ended = renewUntil(deps, stopping.signal);
  return {
    close() {
      stopping.abort();
      return ended;
    },
  };
}

/** Never rejects. */
async function renewUntil(deps: RenewalDeps, signal: AbortSignal): Promise<void> {
  let renewMs = RENEW_MS;
  let failures = 0;
  while (!signal.aborted) {
    try {
      renewMs = await renew(deps, renewMs, signal);
      if (failures >= FAILURES_UNTOLD) deps.log.info({ failures }, 'the lease is renewed again');
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      tell(deps, error, failures);
    }
    deps.leases.attempted();
    await sleep(pauseMs(failures, renewMs, Math.random()), undefined, { signal }).catch(() => undefined);
  }
}

/** Answers after how long to ask again. */
async function renew(
  { controlPlane, agentId, incarnation, registry, leases }: RenewalDeps,
  renewMs: number,
  signal: AbortSignal,
): Promise<number> {
  const servers = reportOf(registry);
  const sentAt = bootSeconds();
  const answer = await requestLease(
    controlPlane,
    { agentId, bootId: bootId(), incarnation, servers },
    AbortSignal.any([signal, AbortSignal.timeout(Math.min(REQUEST_MS, renewMs * 0.8))]),
  );
  await leases.renewed(answer, sentAt, registry.all());
  return answer.renewMs;
}

/** Those that play come first: were there more than can be told, they matter. */
function reportOf(registry: Registry): ReportedServer[] {
  const servers = registry.all();
  return [...servers.filter(({ alive }) => alive), ...servers.filter(({ alive }) => !alive)]
    .slice(0, REPORTED_MAX)
    .map(({ id, epoch, state }) => ({ id, epoch, state: STATE_NAMES[state] }));
}

/**
 * Milliseconds to the next request; `random` is from 0 to 1. Never longer than told; agents that lost the api together
 * don't come back together.
 */
export function pauseMs(failures: number, renewMs: number, random: number): number {
  if (failures === 0) return renewMs * (0.9 + 0.1 * random);
  const retryMs = FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10);
  return Math.min(renewMs, retryMs) * (0.5 + 0.5 * random);
}

function tell({ leases, log }: RenewalDeps, error: unknown, failures: number): void {
  if (!(error instanceof NotRenewed)) {
    log.error({ err: error }, 'the renewal broke');
    return;
  }
  const level = failures === FAILURES_UNTOLD ? 'warn' : 'debug';
  log[level]({ code: error.code, reason: error.message, lease: leases.valid }, 'the lease was not renewed');
}
