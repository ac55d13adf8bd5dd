import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import type { EventBatch } from '#proto/gen/agent.js';
import { agentAddress } from '#src/agents/address.js';
import type { LinkActivities } from '#src/contracts/activities.js';
import { AGENTS_A_LINK } from '#src/contracts/temporal.js';
import { readPositions, type ConsolePosition } from '#src/db/consoleStorage.js';
import { listAgentsOfShard } from '#src/db/reconciliation.js';
import { readSamplePosition } from '#src/db/sampleStorage.js';
import type { AgentRow } from '#src/db/types.js';
import { AppError } from '#src/domain/errors.js';
import { ConsoleCollector, readTimeOf, StalePosition } from './consoleCollector.js';
import { greet } from './health.js';
import { HungServers, type HungDeps } from './hungServers.js';
import { reconcileAgent } from './reconcileAgent.js';
import { acceptDueRestarts } from './restarts.js';
import { SampleCollector } from './sampleCollector.js';
import { StateNews } from './stateNews.js';

const HEARTBEAT_MS = 1_000;
/** How soon a new agent is followed, and one that went is let go. */
const ROSTER_MS = 2_000;
const RECONNECT_MS = 1_000;
const HELLO_DEADLINE_MS = 5_000;
/** An agent frees disk space up to the positions that a stream is opened with. */
const REOPEN_BYTES = 16 * 1024 * 1024;
const SETTLE_MS = 50;
/** How soon a server is looked at whose state changed while an operation worked on it. */
const LOOK_AGAIN_MS = 1_000;

export interface LinkDeps extends HungDeps {
  /** Aborted when this process ends: the link lets go, and another worker takes it over at once. */
  stopping: AbortSignal;
}

/**
 * Follows the event streams of a shard of agents, for as long as the worker lives. State changes make the reconciler look at that
 * server at once; console lines and samples are stored, then announced. One owner at a time by the activity's
 * heartbeat; were there two for a moment, only one of them could store.
 */
export function createLinkActivities(deps: LinkDeps): LinkActivities {
  return {
    async followAgents({ shard }) {
      const context = Context.current();
      const ending = AbortSignal.any([context.cancellationSignal, deps.stopping]);
      const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
      const links = new Map<string, Link>();
      try {
        while (!ending.aborted) {
          await updateRoster(deps, shard, links);
          if (shard === 0) await startDue(deps);
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
async function updateRoster(deps: HungDeps, shard: number, links: Map<string, Link>): Promise<void> {
  let agents: AgentRow[];
  try {
    agents = await listAgentsOfShard(deps.db, shard, AGENTS_A_LINK);
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

/** Here too, since the reconciler's rounds are too far apart for a server that is to be back in a moment. */
async function startDue(deps: HungDeps): Promise<void> {
  try {
    await acceptDueRestarts(deps);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}

function signatureOf(agent: AgentRow): string {
  return JSON.stringify([
    agent.ip_address,
    agent.port,
    agent.tls_mode,
    agent.tls_fingerprint,
    agent.token,
    agent.work_dir,
  ]);
}

function openLink(deps: HungDeps, agent: AgentRow): Link {
  const controller = new AbortController();
  return {
    signature: signatureOf(agent),
    stop: () => controller.abort(),
    ended: follow(deps, agent, controller.signal),
  };
}

/** Never rejects: an agent that can't be followed is tried again until the link is stopped. */
async function follow(deps: HungDeps, agent: AgentRow, signal: AbortSignal): Promise<void> {
  const place: Place = { afterSeq: 0, journalId: '', corrected: new Map() };
  while (!signal.aborted) {
    try {
      await greet(
        deps,
        agent,
        await deps.gateway.hello(agentAddress(agent, deps.openToken), {
          deadlineMs: HELLO_DEADLINE_MS,
          signal,
        }),
      );
      await reconcileAgent(deps, agent);
      while (await readStream(deps, agent, place, signal));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof StalePosition) place.corrected.set(error.serverId, error.position);
      deps.logger.debug({ err: error, agent: agent.agent_id }, 'the link to an agent broke');
    }
    await sleep(RECONNECT_MS, undefined, { signal }).catch(ignoreAbort);
  }
}

/** Where the next stream of an agent begins. */
interface Place {
  afterSeq: number;
  journalId: string;
  /** Consoles whose latest position is not the one to go on from: their agent has forgotten runs. */
  corrected: Map<string, ConsolePosition>;
}

/** Answers true when the stream is to be opened again at once: so much was stored that the agent can free space. */
async function readStream(
  deps: HungDeps,
  agent: AgentRow,
  place: Place,
  signal: AbortSignal,
): Promise<boolean> {
  const { known, request } = await positionsOf(deps, agent, place);
  const sampled = await readSamplePosition(deps.db, agent.id);
  const hung = new HungServers(deps, agent);
  const samples = new SampleCollector({ ...deps, hung }, agent.id, sampled);
  const news = new StateNews(deps, agent);
  const ending = new AbortController();
  const collector = new ConsoleCollector(deps, known, () => ending.abort());
  const stream = deps.gateway.streamEvents(
    agentAddress(agent, deps.openToken),
    { afterSeq: place.afterSeq, journalId: place.journalId, console: request, samples: sampled ?? undefined },
    { signal: AbortSignal.any([signal, ending.signal]) },
  );
  let failure: unknown;
  const looking = keepLooking(news, ending.signal).catch((error: unknown) => {
    failure = error;
    ending.abort();
  });
  const timer = setInterval(() => collector.settle(), SETTLE_MS);
  try {
    for await (const batch of stream) {
      await take(batch, place, collector, news);
      await samples.add(batch);
      if (collector.storedBytes >= REOPEN_BYTES) return true;
    }
    return false;
  } catch (error) {
    collector.throwFailure(); // where that has ended the stream
    throw failure ?? error;
  } finally {
    clearInterval(timer);
    ending.abort();
    await Promise.all([collector.close(), looking]);
  }
}

/** Until the signal; rejects with what the database says. */
async function keepLooking(news: StateNews, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(ignoreAbort);
    if (!signal.aborted) await news.look();
  }
}

async function take(
  batch: EventBatch,
  place: Place,
  collector: ConsoleCollector,
  news: StateNews,
): Promise<void> {
  place.journalId = batch.journalId;
  for (const { event, serverId, atMs } of batch.events) {
    if (event?.$case === 'console') collector.add(serverId, event.console, readTimeOf(batch, atMs));
    if (event?.$case === 'state') place.afterSeq = event.state.seq;
  }
  await news.add(serversWithNews(batch));
  await collector.room();
}

/** What is stored of each console of an agent; of one that was never stored the agent is asked for all. */
async function positionsOf(deps: HungDeps, agent: AgentRow, { corrected }: Place) {
  const known = new Map<string, ConsolePosition>();
  const request: Record<string, { runId: string; offset: number }> = {};
  for (const [serverId, stored] of await readPositions(deps.db, agent.id)) {
    const position = corrected.get(serverId) ?? stored;
    if (position) known.set(serverId, position);
    request[serverId] = { runId: position?.run_id ?? '', offset: position?.byte_offset ?? 0 };
  }
  corrected.clear();
  return { known, request };
}

function serversWithNews({ events }: EventBatch): string[] {
  return events.flatMap(({ event, serverId }) => (event?.$case === 'state' ? [serverId] : []));
}
