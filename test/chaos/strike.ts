import { randomUUID } from 'node:crypto';
import type { OperationEventView, OperationView } from '#src/contracts/operation.js';
import { hasEnded } from '#src/domain/operation.js';
import { AGENT_MARKS, hasEndedStep, waitForMark, type Trace } from '#test/harness/agentMarks.js';
import { agentName, type Cluster } from '#test/harness/cluster.js';
import { lastEvents, setTrap, type Trap } from '#test/harness/faults.js';
import type { Target } from '#test/harness/processes.js';
import { waitFor } from '#test/harness/waitFor.js';
import { nameOf, titleOf, type KillCase, type PartName } from './killCases.js';

/** Status must be true within this time after a fault (the product's own promise). */
const TRUTH_WITHIN_S = 90;
/** Many are waited for at once, on a machine that has much to start meanwhile. */
const LOOK_EVERY_MS = 500;
const ENDS = new Set<string>(['succeeded', 'failed', 'cancelled', 'compensated']);

/** A server of the cluster that is to be at a boundary when a part of it is killed. */
export interface Victim {
  readonly what: KillCase;
  readonly serverId: string;
  /** Index of its agent. One that is frozen at a mark has it for itself. */
  readonly agent: number;
}

/** What was found once everything had come to rest. */
export interface Outcome {
  readonly operation: OperationView;
  readonly events: readonly OperationEventView[];
  /** Where it stood, if not at its boundary: then nothing is proven. */
  readonly astray: string | undefined;
  /** From the kill till the operation had one recorded end and the truth was told about the server. */
  readonly secondsToTruth: number;
  /** From the kill till the operation's next event; null when it had none left. */
  readonly secondsToNextEvent: number | null;
}

/** A part was killed with these servers where they should be; it is being started again. */
export interface Strike {
  /** `Date.now()` */
  readonly at: number;
  readonly restarted: Promise<unknown>;
  readonly operations: ReadonlyMap<Victim, string>;
  readonly astray: ReadonlyMap<Victim, string>;
}

/** Asks, waits until every server is at its boundary, kills the part after a last look, and plays the supervisor. */
export async function strike(
  cluster: Cluster,
  part: PartName,
  victims: readonly Victim[],
  lastLook: () => Promise<void> = async () => undefined,
): Promise<Strike> {
  const targets = partsOf(cluster, part);
  const approach = new Approach(cluster);
  const { trapped, marked, passing } = bySort(victims);
  try {
    await Promise.all(trapped.map(victim => approach.toEvent(victim)));
    await Promise.all(marked.map(victim => approach.toMark(victim)));
    const pastEvent = await approach.findPastEvent();
    for (const victim of passing) await approach.toEvent(victim);
    await lastLook();
    const at = Date.now();
    await Promise.all(targets.map(target => target.kill()));
    const pastMark = approach.findPastMark();
    await approach.letGo();
    const restarted = Promise.all(targets.map(target => target.restart()));
    restarted.catch(() => undefined); // awaited with the outcomes
    const astray = new Map([...pastEvent, ...pastMark]);
    return { at, restarted, operations: await approach.operations(), astray };
  } finally {
    await approach.letGo();
  }
}

/** What fails is told with the end of every part's log. */
export async function withLogs<T>(cluster: Cluster, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new Error(`${String(cause)}\n${await cluster.logTails()}`, { cause });
  }
}

/** All agents are one part: a host's, a rack's. */
function partsOf(cluster: Cluster, part: PartName): Target[] {
  return part === 'agent' ? cluster.agents.map((_, at) => cluster.part(agentName(at))) : [cluster.part(part)];
}

function bySort(victims: readonly Victim[]) {
  const marked = victims.filter(({ what: { boundary } }) => 'mark' in boundary);
  const others = victims.filter(victim => !marked.includes(victim));
  return {
    marked,
    trapped: others.filter(({ what }) => what.boundary.held),
    passing: others.filter(({ what }) => !what.boundary.held),
  };
}

/** The servers on their way to their boundaries, and what holds them there. */
class Approach {
  readonly #asked = new Map<Victim, Promise<OperationView>>();
  /** Of those that go to a mark. */
  readonly #traces = new Map<Victim, Trace>();
  readonly #traps: Trap[] = [];
  readonly #frozen: Target[] = [];

  constructor(private readonly cluster: Cluster) {}

  async toEvent(victim: Victim): Promise<void> {
    const { boundary } = victim.what;
    if (!('event' in boundary)) throw new Error(`${nameOf(boundary)} is no event`);
    const trap = await setTrap(this.cluster.databaseUrl, victim.serverId, boundary.event);
    this.#traps.push(trap);
    void this.#ask(victim);
    await trap.sprung;
  }

  async toMark(victim: Victim): Promise<void> {
    const { boundary } = victim.what;
    if (!('mark' in boundary)) throw new Error(`${nameOf(boundary)} is no mark`);
    const target = this.cluster.part(agentName(victim.agent));
    const { id } = await this.#ask(victim);
    const workDir = this.cluster.agents[victim.agent]?.process.workDir ?? '';
    const trace = { workDir, serverId: victim.serverId, operationId: id };
    this.#traces.set(victim, trace);
    await waitForMark(boundary.mark, trace);
    if (boundary.held !== 'by freezing') return;
    target.freeze();
    this.#frozen.push(target);
  }

  /** Whoever is at another event than that whose trap was to hold it, and at which. */
  async findPastEvent(): Promise<Map<Victim, string>> {
    const operations = await this.operations();
    const events = await lastEvents(this.cluster.databaseUrl, [...operations.values()]);
    const past = new Map<Victim, string>();
    for (const [victim, id] of operations) {
      const { boundary } = victim.what;
      if (!('event' in boundary)) continue;
      const event = events.get(id) ?? 'nothing';
      // That a server is installed is no event itself.
      const isThere = boundary.event === 'installed' ? event !== 'succeeded' : event === boundary.event;
      if (!isThere) past.set(victim, `"${event}"`);
    }
    return past;
  }

  /** Whoever is no longer at its mark, though it was to stay there. Asks nobody: also when a part is dead. */
  findPastMark(): Map<Victim, string> {
    const past = new Map<Victim, string>();
    for (const [victim, trace] of this.#traces) {
      const { boundary } = victim.what;
      if (!('mark' in boundary)) continue;
      const isThere =
        boundary.held === 'by freezing' ? !hasEndedStep(trace) : AGENT_MARKS[boundary.mark](trace);
      if (!isThere) past.set(victim, `the end of "${boundary.mark}"`);
    }
    return past;
  }

  async operations(): Promise<Map<Victim, string>> {
    const found = [...this.#asked].map(async ([victim, asked]) => [victim, (await asked).id] as const);
    return new Map(await Promise.all(found));
  }

  /** May be called again. Of a part that was killed nothing is left to let go. */
  async letGo(): Promise<void> {
    for (const target of this.#frozen.splice(0)) if (target.isUp) target.thaw();
    await Promise.all(this.#traps.splice(0).map(trap => trap.release()));
  }

  /** The answer may be lost with the api; a client asks again with its key, and gets the same operation. */
  #ask(victim: Victim): Promise<OperationView> {
    const asked = this.cluster.admin.act(victim.serverId, victim.what.verb, randomUUID());
    asked.catch(() => undefined); // awaited by `operations`
    this.#asked.set(victim, asked);
    return asked;
  }
}

/** Waits for the end of one operation and for the truth about its server, as `isTrue` tells it; looks `meanwhile`. */
export async function settle(
  cluster: Cluster,
  struck: Strike,
  victim: Victim,
  { isTrue, meanwhile }: { isTrue: () => Promise<boolean>; meanwhile?: () => Promise<void> },
): Promise<Outcome> {
  const operationId = struck.operations.get(victim);
  if (operationId === undefined) throw new Error('nothing was asked of this server');
  const look = async (): Promise<boolean> => {
    await meanwhile?.();
    return (await hasCome(cluster, victim, operationId)) && isTrue();
  };
  await waitFor(look, {
    timeoutMs: TRUTH_WITHIN_S * 1000,
    everyMs: LOOK_EVERY_MS,
    what: `the truth after a kill of ${titleOf(victim.what)}`,
  });
  const secondsToTruth = (Date.now() - struck.at) / 1000;
  await struck.restarted;
  const operation = await cluster.admin.operation(operationId);
  const events = await cluster.admin.events(operationId);
  const next = events.find(({ at }) => Date.parse(at) > struck.at);
  return {
    operation,
    events,
    astray: struck.astray.get(victim),
    secondsToTruth,
    secondsToNextEvent: next ? (Date.parse(next.at) - struck.at) / 1000 : null,
  };
}

/** The operation has ended and its server is free. */
async function hasCome({ admin }: Cluster, { serverId }: Victim, operationId: string): Promise<boolean> {
  const { state } = await admin.operation(operationId);
  return hasEnded(state) && (await admin.server(serverId)).operation_id === null;
}

/** What is wrong about an operation, whatever it was for; empty when nothing is. */
export function complaintsOfOperation({ operation, events, secondsToTruth, astray }: Outcome): string[] {
  const complaints = astray === undefined ? [] : [`it stood at ${astray} when the part was killed`];
  if (operation.state !== 'succeeded') {
    complaints.push(`it ended ${operation.state} ${JSON.stringify(operation.error)}`);
  }
  const ends = events.filter(({ type }) => ENDS.has(type));
  if (ends.length !== 1) complaints.push(`${ends.length} recorded ends`);
  if (events.some(({ seq }, at) => seq !== at + 1))
    complaints.push(`events ${events.map(({ seq }) => seq).join()}`);
  if (secondsToTruth > TRUTH_WITHIN_S) complaints.push(`true after ${secondsToTruth} s only`);
  return complaints;
}
