import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import type { AgentEvent, ConsoleChunk, EventBatch } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { ConsoleLine } from '#src/bus/bus.js';
import type { LinkActivities } from '#src/contracts/activities.js';
import { listAgents } from '#src/db/reconciliation.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { parseConsoleLine } from '#src/domain/consoleLine.js';
import { greet } from './health.js';
import { reconcileAgent, type ReconcileDeps } from './reconcile.js';

const HEARTBEAT_MS = 1_000;
/** How soon a new agent is followed, and one that went is let go. */
const ROSTER_MS = 2_000;
const RECONNECT_MS = 1_000;
const HELLO_DEADLINE_MS = 5_000;

export interface LinkDeps extends ReconcileDeps {
  /** Aborted when this process ends: the link lets go, and another worker takes it over at once. */
  stopping: AbortSignal;
}

/**
 * Follows all agents' event streams, for as long as the worker lives. State changes make the reconciler look at that
 * agent at once; console lines go out live. One owner at a time by the activity's heartbeat; were there two for a
 * moment, both only read.
 */
export function createLinkActivities(deps: LinkDeps): LinkActivities {
  return {
    async followAgents() {
      const context = Context.current();
      const ending = AbortSignal.any([context.cancellationSignal, deps.stopping]);
      const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
      const links = new Map<string, Link>();
      try {
        while (!ending.aborted) {
          await updateRoster(deps, links);
          await sleep(ROSTER_MS, undefined, { signal: ending }).catch(ignoreAbort);
        }
        if (context.cancellationSignal.aborted) throw new CancelledFailure('the link ends');
        throw new AppError('shutting-down', { detail: 'Another worker follows the agents' });
      } finally {
        clearInterval(heartbeat);
        for (const link of links.values()) link.stop();
        await Promise.all([...links.values()].map(link => link.ended));
      }
    },
  };
}

function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error && error.name === 'AbortError')) throw error;
}

interface Link {
  /** What the link was opened with: another address is another link. */
  signature: string;
  stop(): void;
  ended: Promise<void>;
}

/** Bounded by the agents of the shard; links of agents that went are stopped and dropped here. */
async function updateRoster(deps: ReconcileDeps, links: Map<string, Link>): Promise<void> {
  let agents: AgentRow[];
  try {
    agents = await listAgents(deps.db);
  } catch (error) {
    if (error instanceof AppError) return;
    throw error;
  }
  const present = new Map(agents.map(agent => [agent.id, agent]));
  for (const [id, link] of links) {
    const agent = present.get(id);
    if (agent && signatureOf(agent) === link.signature) continue;
    link.stop();
    links.delete(id);
  }
  for (const agent of agents) if (!links.has(agent.id)) links.set(agent.id, openLink(deps, agent));
}

function signatureOf(agent: AgentRow): string {
  return JSON.stringify([agent.ip_address, agent.port, agent.tls_mode, agent.tls_fingerprint, agent.token]);
}

function openLink(deps: ReconcileDeps, agent: AgentRow): Link {
  const controller = new AbortController();
  return {
    signature: signatureOf(agent),
    stop: () => controller.abort(),
    ended: follow(deps, agent, controller.signal),
  };
}

/** Never rejects: an agent that can't be followed is tried again until the link is stopped. */
async function follow(deps: ReconcileDeps, agent: AgentRow, signal: AbortSignal): Promise<void> {
  const address = agentAddress(agent, deps.openToken);
  const position = { afterSeq: 0, journalId: '' };
  while (!signal.aborted) {
    try {
      await greet(deps, agent, await deps.gateway.hello(address, { deadlineMs: HELLO_DEADLINE_MS, signal }));
      await reconcileAgent(deps, agent);
      for await (const batch of deps.gateway.streamEvents(
        address,
        { ...position, console: {} },
        { signal },
      )) {
        position.journalId = batch.journalId;
        for (const event of batch.events) {
          if (event.event?.$case === 'console') publishConsole(deps, event, event.event.console);
          if (event.event?.$case === 'state') position.afterSeq = event.event.state.seq;
        }
        await reconcileAgent(deps, agent, serversWithNews(batch));
      }
    } catch (error) {
      if (signal.aborted) return;
      deps.logger.debug({ err: error, agent: agent.agent_id }, 'the link to an agent broke');
    }
    await sleep(RECONNECT_MS, undefined, { signal }).catch(ignoreAbort);
  }
}

function serversWithNews({ events }: EventBatch): string[] {
  return events.flatMap(({ event, serverId }) => (event?.$case === 'state' ? [serverId] : []));
}

function publishConsole(deps: ReconcileDeps, event: AgentEvent, chunk: ConsoleChunk): void {
  let offset = chunk.offset;
  const timestamp = new Date(event.atMs).toISOString();
  const lines = chunk.lines.map((raw): ConsoleLine => {
    offset += Buffer.byteLength(raw) + 1;
    return { cursor: `${chunk.runId}:${offset}`, timestamp, ...parseConsoleLine(raw) };
  });
  deps.bus.publish('console', { server_id: event.serverId, lines });
}
