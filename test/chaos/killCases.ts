import { randomUUID } from 'node:crypto';
import type { OperationEventView, OperationView } from '#src/contracts/operation.js';
import { hasEnded } from '#src/domain/operation.js';
import { answers } from '#processes/dev/ports.js';
import type { Cluster } from '#test/harness/cluster.js';
import { setTrap, waitForMark, type AgentMark, type Trap } from '#test/harness/faults.js';
import { waitFor } from '#test/harness/waitFor.js';

export const PARTS = ['worker', 'api', 'temporal', 'postgres', 'agent'] as const;
export type PartName = (typeof PARTS)[number];

/** Where a start or a stop can be cut: right after an event was committed, or after a mark on the agent's disk. */
export type Boundary = { event: string } | { mark: AgentMark };

export const BOUNDARIES: { start: Boundary[]; stop: Boundary[] } = {
  start: [
    { event: 'accepted' },
    { event: 'started' },
    { event: 'starting' },
    { mark: 'step noted' },
    { mark: 'JVM started' },
    { event: 'booting' },
    { event: 'running' },
    { event: 'succeeded' },
  ],
  stop: [
    { event: 'accepted' },
    { event: 'started' },
    { event: 'stopping' },
    { mark: 'step noted' },
    { mark: 'stop noted' },
    { mark: 'JVM ended' },
    { event: 'stopped' },
    { event: 'succeeded' },
  ],
};

export interface KillCase {
  part: PartName;
  verb: 'start' | 'stop';
  boundary: Boundary;
}

export const nameOf = (boundary: Boundary): string => ('event' in boundary ? boundary.event : boundary.mark);
export const titleOf = ({ part, verb, boundary }: KillCase): string =>
  `${part} at "${nameOf(boundary)}" of a ${verb}`;

/** A start and a stop in turn, so that each case finds what the one before it has left: a server as it should be. */
export function casesOf(part: PartName): KillCase[] {
  return BOUNDARIES.start.flatMap((boundary, at) => {
    const stop = BOUNDARIES.stop[at];
    const start = { part, verb: 'start' as const, boundary };
    return stop ? [start, { part, verb: 'stop' as const, boundary: stop }] : [start];
  });
}

/** What was found once everything had come to rest. */
export interface Outcome {
  operation: OperationView;
  events: OperationEventView[];
  status: string;
  /** Those that served before the part was killed, and at the end. */
  pidsBefore: number[];
  pids: number[];
  overlaps: string[];
  /** From the kill till the operation had one recorded end and the status was what the kernel says. */
  secondsToTruth: number;
  /** From the kill till the operation's next event; null when it had none left. */
  secondsToNextEvent: number | null;
}

/** Status must be true within this time after a fault (the product's own promise). */
export const TRUTH_WITHIN_S = 90;

/** Asks, waits for the boundary, strikes, plays the supervisor, and waits for the truth. */
export async function killAt(
  cluster: Cluster,
  serverId: string,
  port: number,
  what: KillCase,
): Promise<Outcome> {
  const { admin, oracle } = cluster;
  const target = cluster.part(what.part);
  const trap =
    'event' in what.boundary ? await setTrap(cluster.databaseUrl, serverId, what.boundary.event) : undefined;
  // The answer may be lost with the api; a client asks again with its key, and gets the same operation.
  const asked = admin.act(serverId, what.verb, randomUUID());
  asked.catch(() => undefined); // awaited below
  await boundaryReached(cluster, serverId, what.boundary, trap, asked);

  const struckAt = Date.now();
  const pidsBefore = await oracle.alive(serverId);
  await target.kill();
  await trap?.release();
  const restarted = target.restart();
  restarted.catch(() => undefined); // awaited below

  const operationId = (await asked).id;
  const found = await waitFor(() => truthOf(cluster, serverId, port, operationId), {
    timeoutMs: TRUTH_WITHIN_S * 1000,
    everyMs: 50,
    what: `the truth after a kill of ${titleOf(what)}`,
  });
  const secondsToTruth = (Date.now() - struckAt) / 1000;
  await restarted;
  const events = await admin.events(operationId);
  const next = events.find(({ at }) => Date.parse(at) > struckAt);
  return {
    ...found,
    events,
    pidsBefore,
    overlaps: await oracle.overlaps(serverId),
    secondsToTruth,
    secondsToNextEvent: next ? (Date.parse(next.at) - struckAt) / 1000 : null,
  };
}

async function boundaryReached(
  cluster: Cluster,
  serverId: string,
  boundary: Boundary,
  trap: Trap | undefined,
  asked: Promise<OperationView>,
): Promise<void> {
  if (trap) return trap.sprung;
  if (!('mark' in boundary)) throw new Error('no trap was set for this event');
  await waitForMark(boundary.mark, cluster.agent.process.workDir, serverId, (await asked).id);
}

/** The operation has ended, the server is free, and its status is what the process table says; null until then. */
async function truthOf(cluster: Cluster, serverId: string, port: number, operationId: string) {
  const operation = await cluster.admin.operation(operationId);
  const { status, operation_id } = await cluster.admin.server(serverId);
  const pids = await cluster.oracle.alive(serverId);
  if (!hasEnded(operation.state) || operation_id !== null) return null;
  const isTrue =
    status === 'running'
      ? pids.length === 1 && (await answers(port))
      : status === 'stopped' && pids.length === 0;
  return isTrue ? { operation, status, pids } : null;
}

/** What is wrong about an outcome; empty when nothing is. */
export function complaintsOf(what: KillCase, outcome: Outcome): string[] {
  const { operation, events, pids, pidsBefore, overlaps, secondsToTruth, status } = outcome;
  const complaints = overlaps.map(overlap => `two at a time: ${overlap}`);
  if (operation.state !== 'succeeded') {
    complaints.push(`it ended ${operation.state} ${JSON.stringify(operation.error)}`);
  }
  if (status !== (what.verb === 'start' ? 'running' : 'stopped')) complaints.push(`the server is ${status}`);
  const ends = events.filter(({ type }) => ENDS.has(type));
  if (ends.length !== 1) complaints.push(`${ends.length} recorded ends`);
  if (events.some(({ seq }, at) => seq !== at + 1))
    complaints.push(`events ${events.map(({ seq }) => seq).join()}`);
  if (secondsToTruth > TRUTH_WITHIN_S) complaints.push(`true after ${secondsToTruth} s only`);
  if (what.part === 'agent' && what.verb === 'start' && pidsBefore.some(pid => !pids.includes(pid))) {
    complaints.push(`process ${pidsBefore.join()} did not survive its agent: now ${pids.join()}`);
  }
  return complaints;
}

const ENDS = new Set<string>(['succeeded', 'failed', 'cancelled', 'compensated']);
