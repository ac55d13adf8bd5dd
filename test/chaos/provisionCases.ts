import type { ServedRequest } from '#test/harness/jarServer.js';
import { atMark, during, heldAfter, nameOf, rightAfter, type KillCase, type PartName } from './killCases.js';
import { complaintsOfOperation, type Outcome } from './strike.js';

/** Where a provision can be cut, and on which agent: one that is frozen, or downloads slowly, does that alone. */
const VANILLA = [
  { boundary: rightAfter('accepted'), agent: 0 },
  { boundary: rightAfter('started'), agent: 0 },
  { boundary: atMark('step noted'), agent: 1 },
  { boundary: during('partly downloaded'), agent: 2 },
  { boundary: atMark('verified'), agent: 3 },
  { boundary: atMark('in place'), agent: 4 },
  { boundary: heldAfter('installed'), agent: 0 },
  { boundary: rightAfter('succeeded'), agent: 0 },
] as const;
/** That of a Forge, too: its installer runs at the agent, so only worker and agent have to do with it. */
const FORGE = { boundary: during('installer runs'), agent: 0 } as const;
const PARTS_OF_FORGE: readonly PartName[] = ['worker', 'agent'];

export const AGENTS = 5;
export const VERSIONS = VANILLA.length;

export interface ProvisionCase extends KillCase {
  /** Index. */
  readonly agent: number;
  /** Index of a version, or a Forge. */
  readonly artifact: number | 'forge';
}

export function casesOf(part: PartName): ProvisionCase[] {
  const vanilla = VANILLA.map(
    (found, artifact) => ({ part, verb: 'provision', ...found, artifact }) as const,
  );
  const forge = { part, verb: 'provision', ...FORGE, artifact: 'forge' } as const;
  return PARTS_OF_FORGE.includes(part) ? [...vanilla, forge] : vanilla;
}

/** How often the installer was run, and how many at once at most. */
export interface InstallerFacts {
  readonly runs: number;
  readonly mostAtOnce: number;
}

export interface ProvisionOutcome extends Outcome {
  readonly installed: boolean;
  /** Whether the server was ever called installed while its files were not what they should be. */
  readonly installedTooSoon: boolean;
  readonly downloads: readonly Pick<ServedRequest, 'range' | 'bytes'>[];
  readonly artifactBytes: number;
  /** How often the upstream was asked what the artefact is. */
  readonly questions: number;
  /** Where one is needed. */
  readonly installer: InstallerFacts | undefined;
}

/** What is wrong about an outcome; empty when nothing is. */
export function complaintsOf(what: ProvisionCase, outcome: ProvisionOutcome): string[] {
  const { installed, installedTooSoon, questions } = outcome;
  const complaints = complaintsOfOperation(outcome);
  if (!installed) complaints.push('it is not installed');
  if (installedTooSoon) complaints.push('it was called installed before it was');
  // An attempt that could not tell the agent leaves the question to the next one.
  const isKnownAtAgent = !['accepted', 'started'].includes(nameOf(what.boundary));
  if (questions < 1 || (isKnownAtAgent && questions > 1))
    complaints.push(`the upstream was asked ${questions} times what the artefact is`);
  return [...complaints, ...complaintsOfDownloads(what, outcome), ...complaintsOfInstaller(what, outcome)];
}

/** What an upstream has sent when the agent dies, and that agent has not written. */
const IN_FLIGHT_BYTES = 1024 * 1024;

/** Only the death of the agent that downloads may cost a request, which goes on where the first one was cut. */
function complaintsOfDownloads(
  { part, boundary }: ProvisionCase,
  { downloads, artifactBytes }: ProvisionOutcome,
): string[] {
  const total = downloads.reduce((sum, { bytes }) => sum + bytes, 0);
  const isCut = part === 'agent' && nameOf(boundary) === 'partly downloaded';
  const mayBeCut = part === 'agent' && nameOf(boundary) === 'step noted';
  const isFine = isCut
    ? downloads.length === 2 && downloads[1]?.range !== undefined && total <= artifactBytes + IN_FLIGHT_BYTES
    : downloads.length === 1 || (mayBeCut && downloads.length === 2);
  const story = downloads.map(({ range = 'all', bytes }) => `${range} (${bytes} bytes)`).join(', then ');
  return isFine ? [] : [`of ${artifactBytes} bytes it has downloaded: ${story}`];
}

/** One whose agent dies dies, too, and is begun anew. */
function complaintsOfInstaller({ part }: ProvisionCase, { installer }: ProvisionOutcome): string[] {
  if (!installer) return [];
  const { runs, mostAtOnce } = installer;
  const wanted = part === 'agent' ? 2 : 1;
  return [
    ...(runs === wanted ? [] : [`the installer ran ${runs} times`]),
    ...(mostAtOnce === 1 ? [] : [`${mostAtOnce} installers at once`]),
  ];
}
