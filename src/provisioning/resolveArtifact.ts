import { AppError } from '#src/domain/errors.js';
import { assertFetchable, type UrlRule } from '#src/security/publicUrl.js';
import type { Artifact, ArtifactQuery, ArtifactSource } from './artifact.js';

export interface ProvisioningDeps {
  /** Which URLs of users may be fetched. */
  urls: UrlRule;
  /** By server type. One without a source can only be installed from the user's own `jar_url`. */
  sources?: ReadonlyMap<string, ArtifactSource>;
  /** A web or mail address that upstreams are told. A host of a user's choice is not. */
  contact?: string;
}

export type ResolveArtifact = (query: ArtifactQuery, signal?: AbortSignal) => Promise<Artifact>;

/**
 * Which file makes a server: the user's own jar where one is named, else what the source of its type offers. Rejects
 * with `artifact-unknown`, or what the URL rule or the source says.
 */
export function createResolveArtifact(deps: ProvisioningDeps): ResolveArtifact {
  return async (query, signal) => {
    if (query.jar_url !== null && query.jar_sha256 !== null) {
      await assertFetchable(query.jar_url, deps.urls);
      return { url: query.jar_url, sha256: query.jar_sha256.toLowerCase() };
    }
    const artifact = await deps.sources?.get(query.server_type)?.find(query, signal);
    if (artifact) return { ...artifact, ...(deps.contact !== undefined && { contact: deps.contact }) };
    throw new AppError('artifact-unknown', {
      detail: `No source offers ${query.server_type} ${query.version}; give jar_url and jar_sha256`,
    });
  };
}
