import { createServer } from 'node:http';
import { once } from 'node:events';
import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import { AppError } from '#src/domain/errors.js';
import type { Actor } from '#src/domain/permissions.js';
import { createLogger } from '#src/observability/logger.js';
import type { Principal } from '#src/realtime/client.js';
import { createHub, type Hub, type HubDeps } from '#src/realtime/hub.js';
import { createRawSockets, RAW_SOCKET_PATH } from '#src/realtime/rawSocket.js';
import { attachSocketIo } from '#src/realtime/socketIo.js';
import { routeUpgrades } from '#src/realtime/upgrade.js';

export interface RealtimeServer {
  url: string;
  hub: Hub;
  /** What the next look at a token finds; without an entry it is refused. */
  tokens: Map<string, Principal | AppError>;
  /** How often tokens were looked up. */
  lookups(): number;
  /** A token of this user's, good for an hour unless said otherwise. */
  signIn(user: Actor, expiresAt?: Date | null): string;
  close(): Promise<void>;
}

export const silent = createLogger({ level: 'silent', name: 'test' });

/** The realtime part of an api instance on a port of its own, with a scripted sign-in. */
export async function startRealtimeServer(
  deps: { db: Database; bus: Bus; pingMs?: number } & Partial<HubDeps>,
): Promise<RealtimeServer> {
  const tokens: RealtimeServer['tokens'] = new Map();
  let lookups = 0;
  const http = createServer((_request, response) => response.writeHead(404).end());
  const hub = createHub({ sendCommand: async () => ({}), logger: silent, pollMs: null, ...deps });
  const authenticate = async (token: string): Promise<Principal> => {
    lookups++;
    const found = tokens.get(token) ?? new AppError('unauthenticated');
    if (found instanceof AppError) throw found;
    return found;
  };
  const transport = attachSocketIo({
    http,
    hub,
    cors: { origin: ['http://localhost:1420'] },
    logger: silent,
    authenticate,
  });
  const raw = createRawSockets({ hub, logger: silent, authenticate, pingMs: deps.pingMs ?? 25_000 });
  const upgrades = routeUpgrades(http, { [RAW_SOCKET_PATH]: raw.upgrade });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');

  return {
    url: `http://127.0.0.1:${address.port}`,
    hub,
    tokens,
    lookups: () => lookups,
    signIn(user, expiresAt = new Date(Date.now() + 3_600_000)) {
      const token = `token-${tokens.size}-of-${user.id}`;
      const { id, role, scopes } = user;
      tokens.set(token, { user: { id, role, ...(scopes && { scopes }) }, expiresAt });
      return token;
    },
    async close() {
      await hub.close();
      await Promise.all([transport.close(), raw.close()]);
      upgrades.close();
      http.closeAllConnections();
      await new Promise(resolve => http.close(resolve));
    },
  };
}
