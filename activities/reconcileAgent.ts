import { ProcessState, type ServerState } from '#proto/gen/agent.js';
import { recordBoot } from '#src/db/agentHealth.js';
import { recordCrash } from '#src/db/crashes.js';
import { readLeaseStanding, type LeaseStanding } from '#src/db/leases.js';
import {
  confirmUnchanged,
  listOwned,
  listServersOf,
  markMissing,
  raiseNumbers,
} from '#src/db/reconciliation.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import { livesUnderLease } from '#src/domain/leases.js';
import { correctionFor, type Correction, type ObservedServer } from '#src/domain/reconciliation.js';
import { acceptCorrection, type Acceptance } from './acceptCorrection.js';
import { observed } from './agentWork.js';
import { crashOf } from './crashOf.js';
import { inspectAgent } from './inspectAgent.js';
import type { ReconcileDeps } from './reconcileDeps.js';

export interface AgentFindings {
  /** Corrections that were accepted. */
  accepted: number;
  /** Servers that the agent holds and that are not its own, by our rows. */
  strangers: number;
  /** Servers that were left to the operation that works on them. */
  busy: string[];
}

/**
 * Compares processes of one agent, all or those of the given servers, with what we believe. Servers that an operation
 * is working on are left to it. An agent that does not answer is left for the next round.
 */
export async function reconcileAgent(
  deps: ReconcileDeps,
  agent: AgentRow,
  serverIds?: readonly string[],
): Promise<AgentFindings> {
  // Read before the agent is asked. The other way round a server could be started in between, and be stopped for
  // having been seen stopped. What an operation changes from here on, `confirmUnchanged` finds out.
  const servers = serverIds?.length === 0 ? [] : await listServersOf(deps.db, agent.id, serverIds);
  const idle = servers.filter(server => server.current_op_id === null);
  const busy = servers.filter(server => server.current_op_id !== null).map(({ id }) => id);
  if (idle.length === 0 && serverIds) return { accepted: 0, strangers: 0, busy };
  const states = await inspectAgent(deps, agent);
  if (!states) return { accepted: 0, strangers: 0, busy };
  // What went down with its host has not crashed; what we have just read does not know of the boot.
  if (states.bootId !== agent.boot_id && (await recordBoot(deps.db, agent.id, states.bootId))) {
    return reconcileAgent(deps, agent, serverIds);
  }
  const byId = new Map(states.servers.map(state => [state.serverId, state]));
  const standing = states.servers.some(endedByLease)
    ? await readLeaseStanding(deps.db, agent.id, deps.leaseTtlMs)
    : null;
  let accepted = 0;
  for (const server of idle) {
    if (await reconcileServer(deps, server, byId.get(server.id), standing)) accepted += 1;
  }
  return { accepted, strangers: serverIds ? 0 : await reportStrangers(deps, agent, states.servers), busy };
}

async function reconcileServer(
  deps: ReconcileDeps,
  believed: ServerRow,
  state: ServerState | undefined,
  standing: LeaseStanding | null,
): Promise<boolean> {
  const server = await withRaisedNumbers(deps, believed, state);
  const seen = observe(state, server, standing);
  const isDown = seen.process === 'stopped' || seen.process === 'crashed';
  if (isDown && server.installed && !state?.provisioned && (await markMissing(deps.db, server))) {
    deps.logger.warn({ server: server.id }, 'the agent has not what this server needs to start');
  }
  const correction = correctionFor(server, seen);
  return correction !== null && (await acceptFor(deps, server, correction, state)) === 'accepted';
}

async function withRaisedNumbers(
  { db, logger }: ReconcileDeps,
  server: ServerRow,
  state: ServerState | undefined,
): Promise<ServerRow> {
  if (!state || !isBehind(server, state)) return server;
  const raised = await raiseNumbers(db, server.id, state);
  if (raised) {
    const { owner_epoch, op_seq } = raised;
    logger.error({ server: server.id, owner_epoch, op_seq }, 'the row was older than its agent: restored?');
  }
  return raised ?? server;
}

function isBehind({ owner_epoch, op_seq }: ServerRow, { epoch, opSeq }: ServerState): boolean {
  return owner_epoch < epoch || (owner_epoch === epoch && op_seq < opSeq);
}

function observe(
  state: ServerState | undefined,
  server: ServerRow,
  standing: LeaseStanding | null,
): ObservedServer {
  if (!state) return { process: 'stopped', exitCode: null };
  const seen = { process: observed(state.state), exitCode: state.exitCode ?? null };
  if (standing === null || !endedByLease(state)) return seen;
  const mayRun = standing.holds || !livesUnderLease(server.failover_policy, standing.capabilities);
  return { ...seen, lease: mayRun ? 'back' : 'over' };
}

function endedByLease({ endCause }: ServerState): boolean {
  return endCause === 'lease';
}

function acceptFor(
  deps: ReconcileDeps,
  server: ServerRow,
  { kind, reason, desiredState, isCrash }: Correction,
  state: ServerState | undefined,
): Promise<Acceptance> {
  const crash = isCrash ? crashOf(state) : null;
  return acceptCorrection(deps, {
    kind,
    serverId: server.id,
    reason: crash?.detail ?? reason,
    // Two reconcilers that saw the same make one correction.
    idempotencyKey: `reconcile:${server.id}:${server.op_seq}`,
    ...(desiredState && { desiredState }),
    async prepare(transaction) {
      await confirmUnchanged(deps.db, transaction, server);
      return crash ? recordCrash(deps.db, transaction, server.id, crash) : [];
    },
  });
}

const ALIVE = new Set([ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING]);

/** Never touched: only a person knows whether they are another installation's, or what a lost database knew. */
async function reportStrangers(
  { db, logger }: ReconcileDeps,
  agent: AgentRow,
  states: readonly ServerState[],
): Promise<number> {
  const owned = await listOwned(
    db,
    agent.id,
    states.map(({ serverId }) => serverId),
  );
  const strangers = states.filter(({ serverId }) => !owned.has(serverId));
  const running = strangers.filter(({ state }) => ALIVE.has(state)).map(({ serverId }) => serverId);
  const facts = { agent: agent.agent_id, strangers: strangers.length };
  if (running.length > 0) {
    logger.error({ ...facts, running: running.slice(0, 20) }, 'an agent runs servers that are not its own');
  } else if (strangers.length > 0) {
    logger.info(facts, 'an agent holds folders of servers that are not its own');
  }
  return strangers.length;
}
