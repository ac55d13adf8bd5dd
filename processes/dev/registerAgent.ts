import { createSecretKey } from 'node:crypto';
import { hostname } from 'node:os';
import pg from 'pg';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';

export interface LocalAgent {
  readonly agentId: string;
  readonly address: string;
  readonly port: number;
  readonly workDir: string;
  readonly token: string;
}

/**
 * Makes the rows of the agents that run beside us what they are now, as no person is there to register them. Rows are
 * found by `agent_id`, so ids and what hangs on them stay; whatever an admin set beside is left alone. Idempotent.
 */
export async function registerLocalAgents(
  databaseUrl: string,
  jwtSecret: string,
  agents: readonly LocalAgent[],
): Promise<void> {
  if (agents.length === 0) return;
  const key = deriveSecretKey(createSecretKey(Buffer.from(jwtSecret)));
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 10_000,
    query_timeout: 10_000,
    application_name: 'aymc start',
  });
  client.on('error', () => undefined); // the failed query tells it already
  try {
    await client.connect();
    for (const { agentId, address, port, workDir, token } of agents) {
      await client.query(
        `INSERT INTO agents (agent_id, hostname, ip_address, port, work_dir, tls_mode, token)
         VALUES ($1, $2, $3, $4, $5, 'plaintext', $6)
         ON CONFLICT (agent_id) DO UPDATE SET
           ip_address = excluded.ip_address, port = excluded.port, work_dir = excluded.work_dir,
           tls_mode = excluded.tls_mode, token = excluded.token`,
        [agentId, hostname(), address, port, workDir, sealSecret(key, token)],
      );
    }
  } finally {
    await client.end();
  }
}
