import type { Database } from '#src/db/connect.js';
import type { ServerType } from '#src/db/types.js';
import { findVersions, keepVersions, type KeptVersions } from '#src/db/upstreamVersions.js';
import { AppError } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import type { ArtifactSource, ServerVersion } from '#src/provisioning/artifact.js';

export interface CatalogueDeps {
  db: Database;
  sources: Readonly<Record<ServerType, Pick<ArtifactSource, 'versions'>>>;
  logger: Logger;
  /** After an upstream failed, for so long it is not asked again where an old answer can be given. Default 30 s. */
  patienceMs?: number;
}

export interface OfferedVersions {
  /** Newest first. */
  versions: ServerVersion[];
  fetchedAt: Date;
  /** The upstream can't be asked just now: this is what it said before. */
  stale: boolean;
}

export interface Catalogue {
  /** Rejects with `upstream-failed` when the upstream fails that never answered before. */
  versions(type: ServerType): Promise<OfferedVersions>;
}

const FRESH_MS = 10 * 60_000;
const PATIENCE_MS = 30_000;

/** Which versions there are of each type: asked of the upstreams, kept in the database for all api processes. */
export function createCatalogue({ db, sources, logger, patienceMs = PATIENCE_MS }: CatalogueDeps): Catalogue {
  // One entry a server type at most.
  const looking = new Map<ServerType, Promise<OfferedVersions>>();
  const failedAt = new Map<ServerType, number>();

  const failedJustNow = (type: ServerType): boolean =>
    performance.now() - (failedAt.get(type) ?? -Infinity) < patienceMs;

  async function ask(type: ServerType): Promise<KeptVersions> {
    const kept = await keepVersions(db, type, await sources[type].versions());
    if (!kept) throw new AppError('internal', { cause: new Error('nothing was kept') });
    failedAt.delete(type);
    return kept;
  }

  async function look(type: ServerType): Promise<OfferedVersions> {
    const kept = await findVersions(db, type);
    if (kept && kept.age_ms < FRESH_MS) return offered(kept, false);
    if (kept && failedJustNow(type)) return offered(kept, true);
    try {
      return offered(await ask(type), false);
    } catch (error) {
      if (!kept || !(error instanceof AppError) || error.code !== 'upstream-failed') throw error;
      failedAt.set(type, performance.now());
      logger.warn({ type, reason: error.detail }, 'versions are shown as they were: the upstream failed');
      return offered(kept, true);
    }
  }

  return {
    // Together with everyone who waits for the same; the source's own time limit holds for all of them.
    versions(type) {
      const found = looking.get(type) ?? look(type).finally(() => looking.delete(type));
      looking.set(type, found);
      return found;
    },
  };
}

function offered({ versions, fetched_at }: KeptVersions, stale: boolean): OfferedVersions {
  return { versions, fetchedAt: fetched_at, stale };
}
