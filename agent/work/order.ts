import type { Artifact, ProvisionWork } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import type { JavaWish } from '../java.js';
import type { ServerFacts } from '../server/facts.js';
import { parseFileName } from '../server/paths.js';
import { type ArtifactCache, cacheKey, type Source } from './artifactCache.js';
import { bytesOf, type OwnContext } from './step.js';

/** What a provision asks for, checked. */
export interface InstallOrder {
  readonly kind: Artifact['kind'];
  readonly source: Pick<Source, 'url' | 'checksum' | 'sizeBytes' | 'contact'>;
  /** Of the artefact, in the cache and in the server's facts. */
  readonly key: string;
  /** What a jar is called in the server's folder. */
  readonly fileName: string;
  readonly minecraftVersion: string;
  /** For what is run to install; the jar's own needs come on top. */
  readonly java: Pick<JavaWish, 'major' | 'pinned'>;
  /** The lowest that the server runs on, where its upstream says so. */
  readonly javaMajor: number | undefined;
}

/** What a server's facts say of an installation: all of it, so that nothing of the one before stays. */
export type Installation = {
  readonly [Fact in 'jarFile' | 'launch' | 'artifact' | 'jarSha256']: ServerFacts[Fact];
};

/** Strongest first, each with its length in hex. */
const ALGORITHMS = [
  ['sha512', 128],
  ['sha256', 64],
  ['sha1', 40],
  ['md5', 32],
] as const;

/** Throws `invalid-request`. */
export function parseOrder(work: ProvisionWork): InstallOrder {
  const { artifact, minecraftVersion } = work;
  if (!artifact) throw new AgentError('invalid-request', 'provision needs an artifact');
  const { kind, url, sizeBytes, contact } = artifact;
  const source = { url, sizeBytes, contact, checksum: strongestOf(artifact) };
  return {
    kind,
    source,
    key: cacheKey(source),
    fileName: parseFileName(artifact.fileName || 'server.jar', 'artifact.file_name'),
    minecraftVersion,
    java: { major: work.javaMajor, pinned: work.javaPinned },
    javaMajor: artifact.javaMajor || undefined,
  };
}

/** Undefined where the upstream publishes none. */
function strongestOf(artifact: Artifact): Source['checksum'] {
  for (const [algorithm, digits] of ALGORITHMS) {
    const hex = artifact[algorithm];
    if (hex === '') continue;
    if (hex.length === digits && /^[0-9a-f]+$/.test(hex)) return { algorithm, hex };
    throw new AgentError('invalid-request', `artifact.${algorithm} must be ${digits} lower-case hex digits`);
  }
  return undefined;
}

/** The cache's path of the verified artefact, downloaded now if it has none. */
export function fetchArtifact(
  cache: ArtifactCache,
  { source }: InstallOrder,
  { report, signal }: OwnContext,
): Promise<string> {
  report({ phase: 'downloading', percent: 0 });
  return cache.get({
    ...source,
    signal,
    onProgress: bytesOf(report, { phase: 'downloading' }),
  });
}
