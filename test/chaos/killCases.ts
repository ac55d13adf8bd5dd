import type { AgentMark } from '#test/harness/agentMarks.js';
import type { Verb } from '#test/harness/clusterUser.js';

export const PARTS = ['worker', 'api', 'temporal', 'postgres', 'agent'] as const;
export type PartName = (typeof PARTS)[number];

/**
 * Where an operation can be cut: right after an event was committed, or after a mark on the agent's disk. It stands
 * there until the kill when what follows is `held` off: by a trap, by the freezing of its agent, or because it takes
 * long enough by itself. Where nothing holds it, the kill comes at once.
 */
export type Boundary =
  | { readonly event: string; readonly held: boolean }
  | { readonly mark: AgentMark; readonly held: 'by freezing' | 'by itself' };

/** What follows waits at a trap. */
export const heldAfter = (event: string): Boundary => ({ event, held: true });
/** What follows is no event of the operation: the dispatch, the end of the workflow. */
export const rightAfter = (event: string): Boundary => ({ event, held: false });
export const atMark = (mark: AgentMark): Boundary => ({ mark, held: 'by freezing' });
export const during = (mark: AgentMark): Boundary => ({ mark, held: 'by itself' });

export interface KillCase {
  readonly part: PartName;
  readonly verb: Verb;
  readonly boundary: Boundary;
}

export const nameOf = (boundary: Boundary): string => ('event' in boundary ? boundary.event : boundary.mark);
export const titleOf = ({ part, verb, boundary }: KillCase): string =>
  `${part} at "${nameOf(boundary)}" of a ${verb}`;

/**
 * What each kill is for: the first one for all that are held at their boundaries, since in a fleet servers stand
 * everywhere at once; and every kill for one that is not.
 */
export function roundsOf<Case extends KillCase>(cases: readonly Case[]): Case[][] {
  const held = cases.filter(({ boundary }) => boundary.held);
  const [first, ...others] = cases.filter(({ boundary }) => !boundary.held);
  return [[...held, ...(first ? [first] : [])], ...others.map(what => [what])];
}
