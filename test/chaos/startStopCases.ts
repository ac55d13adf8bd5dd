import { answers } from '#processes/dev/ports.js';
import type { Cluster } from '#test/harness/cluster.js';
import { atMark, heldAfter, rightAfter, type Boundary, type KillCase, type PartName } from './killCases.js';
import { complaintsOfOperation, settle, type Outcome, type Strike, type Victim } from './strike.js';

/** The n-th of a start and the n-th of a stop are of the same server, and those with marks have an agent for themselves. */
const BOUNDARIES = {
  start: [
    rightAfter('accepted'),
    heldAfter('started'),
    heldAfter('starting'),
    atMark('step noted'),
    atMark('JVM started'),
    heldAfter('booting'),
    heldAfter('running'),
    rightAfter('succeeded'),
  ],
  stop: [
    rightAfter('accepted'),
    heldAfter('started'),
    heldAfter('stopping'),
    atMark('step noted'),
    atMark('stop noted'),
    atMark('JVM ended'),
    heldAfter('stopped'),
    rightAfter('succeeded'),
  ],
} as const satisfies Record<'start' | 'stop', readonly Boundary[]>;

/** Of the servers that take part in a lane: the index of each one's agent. */
export const AGENT_OF_SERVER = [0, 0, 0, 1, 2, 3, 0, 0] as const;

export const casesOf = (part: PartName, verb: 'start' | 'stop'): KillCase[] =>
  BOUNDARIES[verb].map(boundary => ({ part, verb, boundary }));

/** Which of the lane's servers a case is about. */
export const serverOf = ({ verb, boundary }: KillCase): number =>
  BOUNDARIES[verb === 'start' ? 'start' : 'stop'].findIndex(known => known === boundary);

export interface StartStopOutcome extends Outcome {
  status: string;
  /** Those that served before the part was killed, and at the end. */
  pidsBefore: readonly number[];
  pids: readonly number[];
  overlaps: readonly string[];
}

/** Waits for the end of one start or stop, and for the server's status to be what the process table says. */
export async function findOutcome(
  cluster: Cluster,
  struck: Strike,
  victim: Victim,
  { port, pidsBefore }: { port: number; pidsBefore: readonly number[] },
): Promise<StartStopOutcome> {
  const { serverId } = victim;
  let found = { status: '', pids: [] as readonly number[] };
  const isTrue = async (): Promise<boolean> => {
    const { status } = await cluster.admin.server(serverId);
    const pids = await cluster.oracle.alive(serverId);
    found = { status, pids };
    return status === 'running'
      ? pids.length === 1 && (await answers(port))
      : status === 'stopped' && pids.length === 0;
  };
  const outcome = await settle(cluster, struck, victim, { isTrue });
  return { ...outcome, ...found, pidsBefore, overlaps: await cluster.oracle.overlaps(serverId) };
}

/** What is wrong about an outcome; empty when nothing is. */
export function complaintsOf({ part, verb }: KillCase, outcome: StartStopOutcome): string[] {
  const { status, pids, pidsBefore, overlaps } = outcome;
  const complaints = complaintsOfOperation(outcome);
  complaints.push(...overlaps.map(overlap => `two at a time: ${overlap}`));
  if (status !== (verb === 'start' ? 'running' : 'stopped')) complaints.push(`the server is ${status}`);
  if (part === 'agent' && verb === 'start' && pidsBefore.some(pid => !pids.includes(pid))) {
    complaints.push(`process ${pidsBefore.join()} did not survive its agent: now ${pids.join()}`);
  }
  return complaints;
}
