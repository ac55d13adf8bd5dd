import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { ensureSearchAttributes } from '#src/operations/bootstrapTemporal.js';
import { startTemporal, type EmbeddedTemporal } from '#processes/dev/temporalServer.js';
import { waitFor } from './waitFor.js';

interface OwnServer {
  temporal: EmbeddedTemporal;
  dataDir: string;
}

let own: Promise<OwnServer> | undefined;

/** `host:port` of a Temporal server: TEST_TEMPORAL_ADDRESS, which a whole run shares, or an own one for a single file. */
export async function testTemporalAddress(): Promise<string> {
  const given = process.env['TEST_TEMPORAL_ADDRESS'];
  if (given) return given;
  own ??= startServer();
  return (await own).temporal.address;
}

async function startServer(): Promise<OwnServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'aymc-test-temporal-'));
  const temporal = await startTemporal({ dataDir });
  process.once('exit', () => temporal.kill());
  return { temporal, dataDir };
}

async function stopTestTemporal(): Promise<void> {
  if (!own) return;
  const { temporal, dataDir } = await own;
  own = undefined;
  await temporal.stop();
  await rm(dataDir, { recursive: true, force: true });
}

if (typeof after === 'function') after('stop the test Temporal server', stopTestTemporal);

/** A namespace of its own for one test file, so that no worker ever meets another test's workflows. */
export async function createTestNamespace(): Promise<{ address: string; namespace: string }> {
  const address = await testTemporalAddress();
  const namespace = `test-${randomBytes(5).toString('hex')}`;
  const connection = await Connection.connect({ address });
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: msToTs('1 day'),
    });
    // The frontend learns of a namespace by polling its own database.
    await waitFor(() => ensureSearchAttributes(connection, namespace).then(() => true), {
      timeoutMs: 30_000,
      what: 'the new namespace',
    });
  } finally {
    await connection.close();
  }
  return { address, namespace };
}
