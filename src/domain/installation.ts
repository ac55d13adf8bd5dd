import { canDo, type Capabilities } from './capabilities.js';

/** How an agent comes to what a server is made of: its own work, a jar that somebody puts there, or not at all. */
export type Installation = 'by-agent' | 'by-hand' | 'impossible';

export interface Installed {
  server_type: string;
  jar_url: string | null;
}

/** The capability that agents of version 1 have, and no other. */
export const VERSION_1 = 'version-1';
const FETCHED_BY_VERSION_1 = new Set(['paper', 'purpur']);

export function installationOn(
  capabilities: Capabilities,
  { server_type, jar_url }: Installed,
): Installation {
  if (!canDo(capabilities, VERSION_1) || isFetchedByVersion1(server_type)) return 'by-agent';
  // Forge is what its installer makes of the agent's folder, and that agent runs none.
  return server_type === 'forge' && jar_url === null ? 'impossible' : 'by-hand';
}

export function isFetchedByVersion1(serverType: string): boolean {
  return FETCHED_BY_VERSION_1.has(serverType);
}
