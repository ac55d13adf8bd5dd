/**
 * Records a history of every terminal path into `histories/<version>/`, for replay.test.ts. Run once per release that
 * changes workflows: `node --import tsx test/replay/record.ts`. Recorded files are never changed: they stand for the
 * operations that users have in flight when they upgrade.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { mailWorkflowId, webhookWorkflowId } from '#src/contracts/temporal.js';
import { requestMail, requestTrial } from '#src/db/deliveries.js';
import { findOperation } from '#src/db/operationQueries.js';
import { row } from '#src/db/sql.js';
import type { OperationKind } from '#src/domain/operation.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { buildServer, buildUser } from '../build.js';
import { neverReady, onStart, onStop, onWork, refuse, startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { startHookServer } from '../harness/hookServer.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';
import { serveAdoptium } from '../upstreams/adoptium.js';
import packageJson from '../../package.json' with { type: 'json' };

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = fileURLToPath(new URL(`histories/${packageJson.version}/`, import.meta.url));

const agent = await startFakeAgent();
const adoptium = await serveAdoptium([
  {
    major: 21,
    imageType: 'jre',
    architecture: 'x64',
    os: 'linux',
    link: 'http://127.0.0.1/java.tar.gz',
    size: 1,
    checksum: 'a'.repeat(64),
  },
]);
const dataDir = await mkdtemp(join(tmpdir(), 'aymc-record-'));
const stack = await startTestStack({
  RECONCILE_INTERVAL: '1h',
  HEALTH_INTERVAL: '1h',
  AYMC_DATA_DIR: dataDir,
  ADOPTIUM_URL: adoptium.url,
});
try {
  await mkdir(folder, { recursive: true });
  await recordAll(stack, agent);
} finally {
  await stack.stop();
  await agent.stop();
  await adoptium.close();
  await rm(dataDir, { recursive: true, force: true });
}
// The embedded servers of the harness end with this process.
process.exit(0);

async function recordAll(
  { core, db, operations, temporal, register, ended }: TestStack,
  fake: FakeAgent,
): Promise<void> {
  const agentId = await register(fake);
  const user = (await buildUser(db)).id;
  const jar = { jar_url: 'http://127.0.0.1/server.jar', jar_sha256: 'a'.repeat(64) };
  const newServer = async () => (await buildServer(db, { user_id: user, agent_id: agentId, ...jar })).id;
  const request = async (kind: OperationKind, server: string, params: Record<string, unknown> = {}) => {
    const asked = { kind, serverId: server, requestedBy: user, trigger: 'user', params } as const;
    return (await operations.request(asked)).operation.id;
  };
  const run = async (kind: OperationKind, server: string, params: Record<string, unknown> = {}) => {
    const id = await request(kind, server, params);
    await ended(id);
    return id;
  };
  const save = async (name: string, workflowId: string) => {
    if (existsSync(`${folder}${name}.json`)) return;
    const history = await temporal.workflow.getHandle(workflowId).fetchHistory();
    // Stack traces name this machine's folders, which no replay looks at.
    const json = historyToJSON(history).replaceAll(root, '');
    await writeFile(`${folder}${name}.json`, `${json}\n`);
    console.log(name);
  };
  const keep = (name: string, id: string) => save(name, `op:${id}`);
  const started = (server: string) => waitFor(() => fake.effects.start[server], { what: 'the process' });

  const plain = await newServer();
  await keep('startServer-succeeded', await run('server.start', plain));
  await keep('restartServer-succeeded', await run('server.restart', plain));
  await keep('stopServer-succeeded', await run('server.stop', plain));
  await keep('provisionServer-succeeded', await run('server.provision', plain));
  await keep('killServer-succeeded', await run('server.kill', plain));
  const java = await operations.requestForAgent({
    kind: 'agent.install_java',
    agentId,
    requestedBy: user,
    trigger: 'user',
    params: { version: 21 },
  });
  await ended(java.operation.id);
  await keep('installJava-succeeded', java.operation.id);
  const deletion = await run('server.delete', plain);
  await temporal.workflow.getHandle(`op:${deletion}`).result();
  await keep('deleteServer-emptied', deletion);

  fake.script(onStart({ endsWith: 'start-failed' }));
  await keep('startServer-failed', await run('server.start', await newServer()));
  await keep('restartServer-failed', await run('server.restart', await newServer()));
  fake.clearScript();
  fake.script(onStart({ endsWith: 'outcome-unknown' }));
  await keep('startServer-compensated', await run('server.start', await newServer()));
  fake.clearScript();
  fake.script(onWork('provision', { endsWith: 'checksum-mismatch' }));
  await keep('provisionServer-failed', await run('server.provision', await newServer()));
  fake.clearScript();

  const newer = { version: '1.21.11', ...jar };
  const upgraded = await newServer();
  await keep('upgradeServer-stopped', await run('server.upgrade', upgraded, newer));
  await run('server.start', upgraded);
  await keep('upgradeServer-succeeded', await run('server.upgrade', upgraded, newer));
  fake.script(onWork('stage', { endsWith: 'checksum-mismatch' }));
  await keep('upgradeServer-failed', await run('server.upgrade', upgraded, newer));
  fake.clearScript();
  fake.script(neverReady());
  const undone = await request('server.upgrade', upgraded, newer);
  await waitFor(() => fake.effects.start[upgraded] === 4, { what: 'the trial' });
  fake.clearScript(); // the start of the old one is ready
  await operations.cancel(undone, { userId: user });
  await ended(undone);
  await keep('upgradeServer-cancelled', undone);
  await run('server.stop', upgraded);
  fake.script(onStart({ endsWith: 'start-failed' }));
  await keep('upgradeServer-compensated', await run('server.upgrade', upgraded, newer));
  fake.clearScript();

  fake.script(neverReady());
  const cancelled = await newServer();
  const cancelledStart = await request('server.start', cancelled);
  await started(cancelled);
  await operations.cancel(cancelledStart, { userId: user });
  await ended(cancelledStart);
  await keep('startServer-cancelled', cancelledStart);

  const raced = await newServer();
  const racedStart = await request('server.start', raced);
  await started(raced);
  await run('server.stop', raced);
  await keep('startServer-superseded', racedStart);
  fake.clearScript();

  const hung = await newServer();
  await run('server.start', hung);
  fake.script(onStop({ afterMs: 60_000 }));
  const hungStop = await request('server.stop', hung);
  await waitFor(async () => (await findOperation(db, hungStop))?.state === 'running', { what: 'the stop' });
  await run('server.kill', hung);
  await ended(hungStop);
  await keep('stopServer-superseded', hungStop);
  fake.clearScript();

  const stubborn = await newServer();
  await run('server.start', stubborn);
  fake.script(onStop({ endsWith: 'stop-failed' }));
  await keep('stopServer-failed', await run('server.stop', stubborn));
  fake.clearScript();

  fake.script(
    neverReady(),
    onStop({ endsWith: 'stop-failed' }),
    refuse('agent-failed', { method: 'cancelWork' }),
  );
  const resting = await newServer();
  const restingStart = await request('server.start', resting);
  await started(resting);
  await operations.cancel(restingStart, { userId: user });
  const rests = () => findOperation(db, restingStart).then(op => op?.state === 'needs_operator');
  await waitFor(rests, { timeoutMs: 30_000, what: 'the rest' });
  await keep('startServer-resting', restingStart);
  fake.clearScript();
  await operations.resolve(restingStart, { action: 'retry', note: 'mended', by: user });
  await ended(restingStart);
  await keep('startServer-resolved', restingStart);

  const { email } = await buildUser(db);
  await requestMail(db, { template: 'password-reset', address: email, requestId: 'recorded' });
  const mail = await row<{ id: string }>(db, 'SELECT id FROM deliveries');
  const sent = async () => (await row(db, 'SELECT 1 FROM deliveries')) === undefined;
  await waitFor(sent, { timeoutMs: 30_000, what: 'the mail' });
  await temporal.workflow.getHandle(mailWorkflowId(mail?.id ?? '')).result();
  await save('deliverNotification-sent', mailWorkflowId(mail?.id ?? ''));

  const hooks = await startHookServer();
  const secret = sealSecret(deriveSecretKey(core.jwtSecret), 'recorded');
  const call = async (name: string, url: string) => {
    const webhook = await db.models.Webhook.create({ user_id: user, url, secret });
    const workflowId = webhookWorkflowId(await requestTrial(db, webhook.id, 'recorded'));
    await waitFor(async () => (await row(db, 'SELECT 1 FROM deliveries')) === undefined, {
      timeoutMs: 30_000,
      what: 'the call',
    });
    await temporal.workflow.getHandle(workflowId).result();
    await save(name, workflowId);
  };
  await call('deliverWebhook-delivered', hooks.url);
  await call('deliverWebhook-buried', 'ftp://127.0.0.1/');
  await hooks.close();

  await save('agentLink-following', 'agent-link:0');
  for (const type of ['reconcile', 'healthSweep', 'maintainPartitions']) {
    for await (const execution of temporal.workflow.list({ query: `WorkflowType = '${type}'` })) {
      await save(`${type}-completed`, execution.workflowId);
      break;
    }
  }
}
