import { parseArgs } from 'node:util';
import { ConfigError, loadConfig } from '#src/config.js';
import { registerAgents } from './dev/registerAgents.js';

const USAGE = `Usage: AGENT_TOKEN=… register-agent --id <agent id> --address <ip> [--port 50051] [--work-dir <folder>]

Makes an agent known whose token was decided outside, where containers start together. People use POST /api/v1/agents.`;

/** What is missing or wrong, in a line for the operator. */
class UsageError extends Error {}

async function main(env: NodeJS.ProcessEnv): Promise<void> {
  const { values } = parseArgs({
    options: {
      id: { type: 'string' },
      address: { type: 'string' },
      port: { type: 'string', default: '50051' },
      'work-dir': { type: 'string', default: '/data/agent' },
    },
  });
  const { id: agentId, address, 'work-dir': workDir } = values;
  const token = env['AGENT_TOKEN'];
  const port = Number(values.port);
  if (!agentId || !address || !token || !Number.isInteger(port)) throw new UsageError(USAGE);
  const { database, auth } = loadConfig(env, { cwd: process.cwd() });
  if (!database.url || !auth.jwtSecret)
    throw new UsageError('DATABASE_URL (or DB_HOST) and JWT_SECRET must be set');
  await registerAgents(database.url, auth.jwtSecret, [{ agentId, address, port, workDir, token }]);
  console.log(`registered ${agentId} at ${address}:${port}`);
}

try {
  await main(process.env);
} catch (error) {
  if (!(error instanceof UsageError || error instanceof ConfigError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
