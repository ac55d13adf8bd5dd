import type { Config } from '#src/config.js';
import { createFindJava, type FindJava } from '#src/provisioning/adoptium.js';
import { createFindProfile, type FindProfile } from '#src/provisioning/mojangProfiles.js';
import { createSources, type Sources } from '#src/provisioning/sources.js';
import { Upstream } from '#src/provisioning/upstream.js';

/** Where the servers of each type come from, by the settings. */
export function sourcesOf(config: Config): Sources {
  return createSources({ bases: config.upstreams, ...mannersOf(config) });
}

/** Where Java comes from, by the settings. */
export function findJavaOf(config: Config): FindJava {
  const { adoptium: base } = config.upstreams;
  return createFindJava(new Upstream({ name: 'Adoptium', base, ...mannersOf(config) }));
}

const CONTACT_LENGTH_MAX = 200;
/** A request waits for it, and the answer is a line. */
const PROFILE_LIMITS = { timeoutMs: 5_000, maxBytes: 16 * 1024, redirects: 0 };

/** Where the ids of players come from, by the settings. */
export function findProfileOf(config: Config): FindProfile {
  const { mojangApi: base } = config.upstreams;
  return createFindProfile(new Upstream({ name: 'Mojang', base, ...mannersOf(config), ...PROFILE_LIMITS }));
}

/** Whom upstreams may write to, by the settings; fit for a header, which takes no other letters and not any number. */
export function contactOf({ upstreams, http, mail }: Config): string {
  const contact = upstreams.contact ?? http.publicUrl ?? mail.from;
  return contact.replace(/[^\x20-\x7e]/g, '?').slice(0, CONTACT_LENGTH_MAX);
}

function mannersOf(config: Config) {
  return {
    urls: { allowPrivate: config.servers.allowPrivateUrls },
    userAgent: `AYMC (${contactOf(config)})`,
  };
}
