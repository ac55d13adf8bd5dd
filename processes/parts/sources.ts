import type { Config } from '#src/config.js';
import { createSources, type Sources } from '#src/provisioning/sources.js';

/** Where the servers of each type come from, by the settings. */
export function sourcesOf({ upstreams, http, mail, servers }: Config): Sources {
  const contact = upstreams.contact ?? http.publicUrl ?? mail.from;
  return createSources({
    bases: upstreams,
    urls: { allowPrivate: servers.allowPrivateUrls },
    // A header takes no other letters.
    userAgent: `AYMC (${contact.replace(/[^\x20-\x7e]/g, '?')})`,
  });
}
