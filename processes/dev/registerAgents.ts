import { createSecretKey } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';

const LOOK_MS = 100;

export interface LocalAgent {
  readonly agentId: string;
  readonly address: string;
  readonly port: number;
  readonly workDir: string;
  readonly token: string;
}

/**
 * Makes the rows of agents that start together with us what they are now, as no person is there to register them. Rows are
 * found by `agent_id`, so ids and what hangs on them stay; whatever an admin set beside is left alone. Idempotent.
 */
export async function registerAgents(
  databaseUrl: string,
  jwtSecret: string,
  agents: readonly LocalAgent[],
): Promise<void> {
  if (agents.length === 0) return;
  const key = deriveSecretKey(createSecretKey(Buffer.from(jwtSecret)));
  await withClient(databaseUrl, async client => {
    for (const { agentId, address, port, workDir, token } of agents) {
      // Offline until this life of it has been greeted, whatever its last one was.
      await client.query(
        `INSERT INTO agents (agent_id, hostname, ip_address, port, work_dir, tls_mode, token)
         VALUES ($1, $2, $3, $4, $5, 'plaintext', $6)
         ON CONFLICT (agent_id) DO UPDATE SET
           ip_address = excluded.ip_address, port = excluded.port, work_dir = excluded.work_dir,
           tls_mode = excluded.tls_mode, token = excluded.token, status = 'offline'`,
        [agentId, hostname(), address, port, workDir, sealSecret(key, token)],
      );
    }
  });
}

/**
 * Waits until the worker has greeted the agents, so that the first request after the banner finds somewhere to put a
 * server. Answers false when that takes longer than `timeoutMs`.
 */
export async function untilAgentsAreOnline(
  databaseUrl: string,
  agents: readonly LocalAgent[],
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  const ids = agents.map(({ agentId }) => agentId);
  return withClient(databaseUrl, async client => {
    while (performance.now() < deadline) {
      const { rows } = await client.query(
        "SELECT 1 FROM agents WHERE agent_id = ANY($1) AND status = 'online'",
        [ids],
      );
      if (rows.length === ids.length) return true;
      await sleep(LOOK_MS, undefined, { signal });
    }
    return false;
  });
}

async function withClient<T>(databaseUrl: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 10_000,
    query_timeout: 10_000,
    application_name: 'aymc npm start',
  });
  client.on('error', () => undefined); // the failed query tells it already
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end();
  }
}
