import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import {
  DefaultLogger,
  makeTelemetryFilterString,
  Runtime,
  Worker,
  type NativeConnection,
  type WorkerOptions,
} from '@temporalio/worker';
import { createAgentActivities } from '#activities/agentWork.js';
import { createLinkActivities } from '#activities/agentLink.js';
import { AppErrorInterceptor } from '#activities/errors.js';
import { createHealthActivities } from '#activities/health.js';
import { createMailActivities, type MailDeps } from '#activities/mail.js';
import { createOperationActivities } from '#activities/operations.js';
import { createReconcileActivities } from '#activities/reconcile.js';
import { createRetentionActivities } from '#activities/retention.js';
import { createWebhookActivities } from '#activities/webhook.js';
import { STICKY_QUEUE_TIMEOUT, TASK_QUEUES } from '#src/contracts/temporal.js';
import { ensurePartitions } from '#src/db/ensurePartitions.js';
import { createMailer } from '#src/mail/createMailer.js';
import type { Logger } from '#src/observability/logger.js';
import { ensureAgentLinks } from '#src/operations/agentLinks.js';
import { ensureSearchAttributes, ensureStandingWork } from '#src/operations/bootstrapTemporal.js';
import { createOperations } from '#src/operations/createOperations.js';
import { Dispatcher } from '#src/operations/dispatcher.js';
import { createResolveArtifact } from '#src/provisioning/resolveArtifact.js';
import type { Core } from './core.js';
import { contactOf, findJavaOf, sourcesOf } from './sources.js';
import { connectWhenUp, sharedTemporal, type TemporalLink } from './temporalLink.js';

const OUTBOX_POLL_MS = 1_000;
/** Time for running activities to detach at a shutdown. */
const GRACE_MS = 8_000;
const RETRY_MS = 1_000;

export interface WorkerPart {
  temporal: TemporalLink;
  dispatcher: Dispatcher;
}

/**
 * Everything of a process that works for Temporal: the four task queues, the dispatcher, standing work. Answers at
 * once and connects behind, so that an api in the same process serves while Temporal is down. A worker that fails
 * takes the process down, for its supervisor to start anew.
 */
export function startWorker(core: Core, augment: AugmentWorker = options => options): WorkerPart {
  const { config, logger, shutdown } = core;
  let connection: NativeConnection | undefined;
  const temporal = sharedTemporal(config, () => connection);
  const workflows = async () => (await temporal.client()).workflow;
  const dispatcher = new Dispatcher({
    db: core.db,
    bus: core.bus,
    logger,
    temporal: workflows,
    eager: true,
    pollMs: OUTBOX_POLL_MS,
  });
  const running = run(core, { dispatcher, temporal, augment }, made => (connection = made)).catch(
    (error: unknown) => {
      if (shutdown.signal.aborted) return;
      logger.fatal({ err: error }, 'the worker failed');
      void shutdown.run('fault');
    },
  );
  shutdown.add('worker', () => running, { timeoutMs: GRACE_MS + 4_000 });
  shutdown.add('dispatcher', () => dispatcher.stop());
  return { temporal, dispatcher };
}

/** For coverage of workflow code, which is compiled in. */
export type AugmentWorker = (options: WorkerOptions) => WorkerOptions | Promise<WorkerOptions>;

interface Wiring extends WorkerPart {
  augment: AugmentWorker;
}

/** Once per process, before anything else of Temporal: signals are the shutdown's, and log lines the logger's. */
export function installTemporalRuntime(logger: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    logger: runtimeLogger(logger),
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
    },
  });
}

async function run(
  core: Core,
  wiring: Wiring,
  connected: (connection: NativeConnection) => void,
): Promise<void> {
  const { config, logger, shutdown } = core;
  const connection = await connectWhenUp(config, logger, shutdown.signal);
  try {
    const { namespace } = config.temporal;
    await ensureSearchAttributes(connection, namespace);
    await ensurePartitions(core.db);
    const workers = await createWorkers(core, connection, wiring);
    connected(connection);
    wiring.dispatcher.start();
    shutdown.signal.addEventListener('abort', () => workers.forEach(worker => worker.shutdown()), {
      once: true,
    });
    logger.info({ queues: Object.values(TASK_QUEUES) }, 'worker polls');
    await Promise.all([
      ...workers.map(worker => worker.run()),
      standingWork(core, new Client({ connection, namespace })),
    ]);
  } finally {
    await connection.close();
  }
}

/** Temporal may be going down or coming up just now; the worker polls meanwhile. */
async function standingWork({ config, logger, shutdown }: Core, client: Client): Promise<void> {
  const cadence = { reconcileMs: config.health.reconcileIntervalMs, healthMs: config.health.intervalMs };
  while (!shutdown.signal.aborted) {
    try {
      return await client.connection.withDeadline(Date.now() + 10_000, () =>
        ensureStandingWork(client, cadence),
      );
    } catch (error) {
      logger.warn({ err: error }, 'schedules could not be ensured; trying again');
      await sleep(RETRY_MS, undefined, { signal: shutdown.signal }).catch(() => undefined);
    }
  }
}

async function createWorkers(
  core: Core,
  connection: NativeConnection,
  { dispatcher, temporal, augment }: Wiring,
): Promise<Worker[]> {
  const { config, db, bus, gateway, logger, openToken } = core;
  const workflows = async () => (await temporal.client()).workflow;
  const operations = createOperations({ db, bus, dispatcher, logger, temporal: workflows });
  const urls = { allowPrivate: config.servers.allowPrivateUrls };
  const contact = contactOf(config);
  const sendNow = (ids: readonly string[]) => dispatcher.sendNow(ids);
  const agentWork = createAgentActivities({
    db,
    bus,
    gateway,
    openToken,
    resolveArtifact: createResolveArtifact({
      urls,
      sources: new Map(Object.entries(sourcesOf(config))),
      contact,
    }),
    findJava: findJavaOf(config),
    contact,
    reachBudgetMs: config.agents.reachBudgetMs,
    stopping: core.shutdown.signal,
  });
  const reconcileDeps = {
    db,
    bus,
    gateway,
    openToken,
    leaseTtlMs: config.lease.ttlMs,
    operations,
    sendNow,
    logger,
    temporal: workflows,
  };
  const health = createHealthActivities({
    db,
    bus,
    gateway,
    openToken,
    intervalMs: config.health.intervalMs,
    failuresAllowed: config.health.failures,
  });

  const shared: Omit<WorkerOptions, 'taskQueue'> = {
    connection,
    namespace: config.temporal.namespace,
    shutdownGraceTime: GRACE_MS,
    shutdownForceTime: GRACE_MS + 2_000,
    // A cancel reaches an activity with its next heartbeat, so heartbeats may not be held back for long.
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
    interceptors: { activity: [() => ({ inbound: new AppErrorInterceptor() })] },
  };
  const workflowWorker = await augment({
    ...shared,
    taskQueue: TASK_QUEUES.workflows,
    ...workflowCode(config.runtime.workflowBundle),
    maxCachedWorkflows: 250,
    stickyQueueScheduleToStartTimeout: STICKY_QUEUE_TIMEOUT,
    maxConcurrentActivityTaskExecutions: 200,
    activities: {
      ...createOperationActivities({ db, bus, sendNow }),
      ...agentWork,
      ...createReconcileActivities({
        ...reconcileDeps,
        ensureLinks: async agents => ensureAgentLinks(await workflows(), agents),
      }),
      ...createRetentionActivities({ db, keep: config.retention, stopping: core.shutdown.signal }),
      ...createMailActivities(mailDeps(core)),
      ...createWebhookActivities({ db, openToken, urls }),
    },
  });
  return Promise.all([
    Worker.create(workflowWorker),
    Worker.create({
      ...shared,
      taskQueue: TASK_QUEUES.transfer,
      maxConcurrentActivityTaskExecutions: 20,
      activities: {
        provisionOnAgent: agentWork.provisionOnAgent,
        installJavaOnAgent: agentWork.installJavaOnAgent,
        stageOnAgent: agentWork.stageOnAgent,
        snapshotOnAgent: agentWork.snapshotOnAgent,
      },
    }),
    Worker.create({
      ...shared,
      taskQueue: TASK_QUEUES.health,
      maxConcurrentActivityTaskExecutions: 10,
      activities: { ...health },
    }),
    Worker.create({
      ...shared,
      taskQueue: TASK_QUEUES.links,
      maxConcurrentActivityTaskExecutions: 10,
      activities: {
        ...createLinkActivities({
          ...reconcileDeps,
          hungAfterMs: config.health.hungAfterMs,
          stopping: core.shutdown.signal,
        }),
      },
    }),
  ]);
}

function mailDeps({ config, db }: Core): MailDeps {
  const { http, mail, runtime } = config;
  return {
    db,
    mailer: createMailer({ ...mail, dir: join(runtime.dataDir, 'mail') }),
    publicUrl: http.publicUrl ?? `http://${http.host}:${http.port}`,
  };
}

/** The prebuilt bundle saves two seconds and the memory of a bundler; a checkout without one bundles its sources. */
function workflowCode(bundle: string | undefined): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  if (bundle !== undefined) return { workflowBundle: { codePath: bundle } };
  return { workflowsPath: fileURLToPath(new URL('../../workflows/index.ts', import.meta.url)) };
}

/** Without what the SDK warns of and we mean: queues that carry activities alone, and attempts that let go at the end. */
function runtimeLogger(logger: Logger) {
  const child = logger.child({ part: 'temporal' });
  return new DefaultLogger('WARN', ({ level, message, meta }) => {
    const error: unknown = meta?.['error'];
    const letGo = error instanceof ApplicationFailure && error.type === 'shutting-down';
    if (letGo || message.startsWith('No workflows registered')) return;
    if (level === 'ERROR') child.error({ ...meta }, message);
    else child.warn({ ...meta }, message);
  });
}
