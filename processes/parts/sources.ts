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

/** A request waits for it, and the answer is a line. */
const PROFILE_LIMITS = { timeoutMs: 5_000, maxBytes: 16 * 1024, redirects: 0 };

/** Where the ids of players come from, by the settings. */
export function findProfileOf(config: Config): FindProfile {
  const { mojangApi: base } = config.upstreams;
  return createFindProfile(new Upstream({ name: 'Mojang', base, ...mannersOf(config), ...PROFILE_LIMITS }));
}

function mannersOf({ upstreams, http, mail, servers }: Config) {
  const contact = upstreams.contact ?? http.publicUrl ?? mail.from;
  return {
    urls: { allowPrivate: servers.allowPrivateUrls },
    // A header takes no other letters.
    userAgent: `AYMC (${contact.replace(/[^\x20-\x7e]/g, '?')})`,
  };
}
