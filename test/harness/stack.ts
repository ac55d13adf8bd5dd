import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { AgentAddress } from '#src/agents/gateway.js';
import { loadConfig } from '#src/config.js';
import type { OperationView } from '#src/contracts/operation.js';
import type { Database } from '#src/db/connect.js';
import { findOperation } from '#src/db/operationQueries.js';
import { hasEnded } from '#src/domain/operation.js';
import { createLogger } from '#src/observability/logger.js';
import { createShutdown, type Shutdown } from '#src/observability/shutdown.js';
import { createOperations } from '#src/operations/createOperations.js';
import type { Operations } from '#src/operations/operations.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { freePort } from '#processes/dev/ports.js';
import { startApi } from '#processes/parts/api.js';
import { openCore, type Core } from '#processes/parts/core.js';
import { startWorker } from '#processes/parts/worker.js';
import { buildAgent } from '../build.js';
import { createTestDatabase } from './database.js';
import './quietTemporal.js';
import { createTestNamespace } from './temporal.js';
import { waitFor } from './waitFor.js';
import { withWorkflowCode } from './workflowCode.js';

export interface TestStack {
  core: Core;
  db: Database;
  url: string;
  operations: Operations;
  /** A connection of the test's own, to look and to signal. */
  temporal: Client;
  /** A row for an agent; answers its id. */
  register(agent: { address: AgentAddress }): Promise<string>;
  /** REST and sockets as well, until the stack's end; answers their URL. */
  serve(): Promise<string>;
  /** Waits until the operation has ended. */
  ended(operationId: string, timeoutMs?: number): Promise<OperationView>;
  /** Stops the worker as a SIGTERM would, and starts a new one. */
  restartWorker(): Promise<void>;
  stop(): Promise<void>;
}

const LOG_LEVEL = process.env['TEST_LOG_LEVEL'] ?? 'silent';

/**
 * The control plane without its transports, in this process: real Postgres, real Temporal, a real worker composed as
 * the product composes it. Agents are scripted ones over real gRPC.
 */
export async function startTestStack(settings: NodeJS.ProcessEnv = {}): Promise<TestStack> {
  const database = await createTestDatabase();
  const { address, namespace } = await createTestNamespace();
  const config = loadConfig({
    ENV: 'test',
    PORT: String(await freePort()),
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: address,
    TEMPORAL_NAMESPACE: namespace,
    JWT_SECRET: randomBytes(32).toString('hex'),
    RECONCILE_INTERVAL: '2s',
    HEALTH_INTERVAL: '2s',
    ...settings,
  });
  const logger = createLogger({ level: LOG_LEVEL, name: 'test' });
  const quiet = () =>
    createShutdown({ logger, deadlineMs: 20_000, host: { on: () => undefined, exit: () => undefined } });

  const start = () => {
    const shutdown: Shutdown = quiet();
    const core = openCore(config, logger, shutdown);
    const worker = startWorker(core, withWorkflowCode);
    const operations = createOperations({
      db: core.db,
      bus: core.bus,
      dispatcher: worker.dispatcher,
      temporal: async () => (await worker.temporal.client()).workflow,
      logger,
    });
    return { shutdown, core, worker, operations };
  };
  let running = start();
  const connection = await Connection.connect({ address });
  const temporal = new Client({ connection, namespace });
  await waitFor(() => running.worker.temporal.client(), { timeoutMs: 30_000, what: 'the worker' });

  return {
    get core() {
      return running.core;
    },
    db: database.db,
    url: database.url,
    get operations() {
      return running.operations;
    },
    temporal,
    async register(agent) {
      const { token } = agent.address;
      const key = deriveSecretKey(running.core.jwtSecret);
      const row = await buildAgent(database.db, {
        id: agent.address.id,
        ip_address: agent.address.host,
        port: agent.address.port,
        tls_mode: agent.address.tls_mode,
        tls_fingerprint: agent.address.tls_fingerprint,
        token: token === null ? null : sealSecret(key, token),
      });
      return row.id;
    },
    async serve() {
      const { core, operations, worker } = running;
      return (await startApi(core, { operations, temporal: worker.temporal, alone: true })).url;
    },
    ended: (operationId, timeoutMs = 20_000) =>
      waitFor(
        async () => {
          const operation = await findOperation(database.db, operationId);
          return operation && hasEnded(operation.state) ? operation : null;
        },
        { timeoutMs, what: `the end of operation ${operationId}` },
      ),
    async restartWorker() {
      await running.shutdown.run('done');
      running = start();
      await waitFor(() => running.worker.temporal.client(), { timeoutMs: 30_000, what: 'the new worker' });
    },
    async stop() {
      await running.shutdown.run('done');
      await connection.close();
      await database.drop();
    },
  };
}
