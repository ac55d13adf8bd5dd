import { randomUUID } from 'node:crypto';
import type { OperationEventView, OperationView } from '#src/contracts/operation.js';
import { hasEnded } from '#src/domain/operation.js';
import { agentName, type Cluster } from '#test/harness/cluster.js';
import { lastEvents, setTrap, waitForMark, type Trap } from '#test/harness/faults.js';
import type { Target } from '#test/harness/processes.js';
import { waitFor } from '#test/harness/waitFor.js';
import { nameOf, titleOf, type KillCase, type PartName } from './killCases.js';

/** Status must be true within this time after a fault (the product's own promise). */
const TRUTH_WITHIN_S = 90;
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
  /** The event at which it stood, where that was not its boundary. */
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
    const astray = await approach.findAstray(trapped);
    for (const victim of passing) await approach.toEvent(victim);
    await lastLook();
    const at = Date.now();
    await Promise.all(targets.map(target => target.kill()));
    await approach.letGo();
    const restarted = Promise.all(targets.map(target => target.restart()));
    restarted.catch(() => undefined); // awaited with the outcomes
    return { at, restarted, operations: await approach.operations(), astray };
  } finally {
    await approach.letGo();
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
    const { serverId, agent: at, what } = victim;
    const { boundary } = what;
    if (!('mark' in boundary)) throw new Error(`${nameOf(boundary)} is no mark`);
    const agent = this.cluster.agents[at];
    if (!agent) throw new Error(`there is no agent ${at}`);
    const { id } = await this.#ask(victim);
    await waitForMark(boundary.mark, agent.process.workDir, serverId, id);
    if (boundary.held !== 'by freezing') return;
    const target = this.cluster.part(agentName(at));
    target.freeze();
    this.#frozen.push(target);
  }

  /** Whoever has got past its boundary, though a trap should hold it there, and the event at which it stands. */
  async findAstray(victims: readonly Victim[]): Promise<Map<Victim, string>> {
    const operations = await this.operations();
    const last = await lastEvents(this.cluster.databaseUrl, [...operations.values()]);
    const events = victims.map(victim => [victim, last.get(operations.get(victim) ?? '') ?? 'none'] as const);
    return new Map(
      events.filter(([{ what }, event]) => {
        const name = nameOf(what.boundary);
        // Which is no event itself.
        return name === 'installed' ? event === 'succeeded' : event !== name;
      }),
    );
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

/** Waits for the end of one operation and for the truth about its server, as `isTrue` tells it. */
export async function settle(
  cluster: Cluster,
  struck: Strike,
  victim: Victim,
  isTrue: () => Promise<boolean>,
): Promise<Outcome> {
  const operationId = struck.operations.get(victim);
  if (operationId === undefined) throw new Error('nothing was asked of this server');
  await waitFor(async () => (await hasCome(cluster, victim, operationId)) && (await isTrue()), {
    timeoutMs: TRUTH_WITHIN_S * 1000,
    everyMs: 150,
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
  const complaints = astray === undefined ? [] : [`it stood at "${astray}" when the part was killed`];
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
